# Table 2c in miniature, row "RoIWarp max": bilinear as RoIAlign, but of a RoI that is rounded
# first.
_base_ = '../../mini/ablation_c4.py'

roi_layer = dict(_delete_=True, type='RoIWarp', sampling_ratio=0, pool_mode='max')
model = dict(
    roi_head=dict(
        bbox_roi_extractor=dict(roi_layer=dict(output_size=7, **roi_layer)),
        mask_roi_extractor=dict(roi_layer=dict(output_size=14, **roi_layer))))

# Table 2c in miniature, row "RoIAlign max": aligned, with the maximum of a bin's samples in place
# of their mean.
_base_ = '../../mini/ablation_c4.py'

roi_layer = dict(_delete_=True, type='RoIAlign', sampling_ratio=0, pool_mode='max')
model = dict(
    roi_head=dict(
        bbox_roi_extractor=dict(roi_layer=dict(output_size=7, **roi_layer)),
        mask_roi_extractor=dict(roi_layer=dict(output_size=14, **roi_layer))))

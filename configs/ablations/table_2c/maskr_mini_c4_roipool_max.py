# Table 2c in miniature, row "RoIPool max": RoI and bins are rounded to whole cells, here of 16
# pixels.
_base_ = '../../mini/ablation_c4.py'

roi_layer = dict(_delete_=True, type='RoIPool')
model = dict(
    roi_head=dict(
        bbox_roi_extractor=dict(roi_layer=dict(output_size=7, **roi_layer)),
        mask_roi_extractor=dict(roi_layer=dict(output_size=14, **roi_layer))))

# Table 2d in miniature, row "RoIPool": RoIs are rounded to cells of 32 pixels.
_base_ = '../../mini/ablation_c5.py'

roi_layer = dict(_delete_=True, type='RoIPool')
model = dict(
    roi_head=dict(
        bbox_roi_extractor=dict(roi_layer=dict(output_size=7, **roi_layer)),
        mask_roi_extractor=dict(roi_layer=dict(output_size=14, **roi_layer))))

# Section 4.2, in addition to Table 2d: RoIPool on a pyramid, where rounding loses less.
_base_ = '../../maskr_r50_fpn_160k.py'

roi_layer = dict(_delete_=True, type='RoIPool')
model = dict(
    roi_head=dict(
        bbox_roi_extractor=dict(roi_layer=dict(output_size=7, **roi_layer)),
        mask_roi_extractor=dict(roi_layer=dict(output_size=14, **roi_layer))))

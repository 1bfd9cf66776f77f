# Table 2d, row "RoIPool" (23.6 mask AP, 28.2 box AP): RoIs are rounded to cells of 32 pixels.
_base_ = '../../maskr_r50_c5_160k.py'

roi_layer = dict(_delete_=True, type='RoIPool')
model = dict(
    roi_head=dict(
        bbox_roi_extractor=dict(roi_layer=dict(output_size=7, **roi_layer)),
        mask_roi_extractor=dict(roi_layer=dict(output_size=14, **roi_layer))))

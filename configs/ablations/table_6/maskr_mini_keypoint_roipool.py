# Table 6 in miniature, row "RoIPool": quantized RoIs in both branches.
_base_ = '../table_4/maskr_mini_keypoint.py'

roi_layer = dict(_delete_=True, type='RoIPool')
model = dict(
    roi_head=dict(
        bbox_roi_extractor=dict(roi_layer=dict(output_size=7, **roi_layer)),
        keypoint_roi_extractor=dict(roi_layer=dict(output_size=14, **roi_layer))))

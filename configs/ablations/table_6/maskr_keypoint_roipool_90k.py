# Table 6, row "RoIPool" (59.8 keypoint AP): quantized RoIs in every branch misplace keypoints.
_base_ = '../../maskr_keypoint_r50_fpn_90k.py'

roi_layer = dict(_delete_=True, type='RoIPool')
model = dict(
    roi_head=dict(
        bbox_roi_extractor=dict(roi_layer=dict(output_size=7, **roi_layer)),
        keypoint_roi_extractor=dict(roi_layer=dict(output_size=14, **roi_layer))))

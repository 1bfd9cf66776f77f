# Table 5, row "keypoint-only" (50.7 box AP, 64.2 keypoint AP): boxes and keypoints of persons.
_base_ = '../../maskr_keypoint_r50_fpn_1x.py'

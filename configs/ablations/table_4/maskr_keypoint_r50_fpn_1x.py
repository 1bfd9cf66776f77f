# Table 4, row "keypoint-only" (62.7 keypoint AP on test-dev): boxes and keypoints of persons.
_base_ = '../../maskr_keypoint_r50_fpn_1x.py'

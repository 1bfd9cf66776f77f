# Table 6, row "RoIAlign" (64.2 keypoint AP).
_base_ = '../../maskr_keypoint_r50_fpn_1x.py'

# Table 5, row "keypoint and mask" (52.0 box, 45.1 mask, 64.7 keypoint AP): all three branches.
_base_ = '../../maskr_keypoint_mask_r50_fpn_1x.py'

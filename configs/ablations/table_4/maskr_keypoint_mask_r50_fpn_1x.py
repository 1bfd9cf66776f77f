# Table 4, row "keypoint and mask" (63.1 keypoint AP on test-dev): a mask branch beside them.
_base_ = '../../maskr_keypoint_mask_r50_fpn_1x.py'

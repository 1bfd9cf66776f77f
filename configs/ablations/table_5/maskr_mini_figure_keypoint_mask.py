# Table 5 in miniature, row "keypoint and mask": all three branches.
_base_ = '../../mini/ablation_keypoint_mask.py'

# Table 4 in miniature, row "keypoint and mask": a mask branch beside boxes and keypoints.
_base_ = '../../mini/ablation_keypoint_mask.py'

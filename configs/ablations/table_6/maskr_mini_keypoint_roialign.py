# Table 6 in miniature, row "RoIAlign".
_base_ = '../table_4/maskr_mini_keypoint.py'

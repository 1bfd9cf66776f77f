# Table 5 in miniature, row "keypoint-only": boxes and keypoints of figures.
_base_ = '../table_4/maskr_mini_keypoint.py'

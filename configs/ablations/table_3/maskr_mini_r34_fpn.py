# Table 3 in miniature, row "Mask R-CNN, ResNet-101-FPN".
_base_ = '../table_2a/maskr_mini_r34_fpn.py'

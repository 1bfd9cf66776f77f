# Table 3 in miniature, row "Mask R-CNN, ResNeXt-101-FPN".
_base_ = '../table_2a/maskr_mini_x50_fpn.py'

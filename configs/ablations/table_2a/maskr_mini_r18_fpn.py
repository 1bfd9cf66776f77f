# Table 2a in miniature, row "ResNet-50-FPN": the smaller body with a pyramid.
_base_ = '../../mini/ablation_fpn.py'

# Table 2a in miniature, row "ResNet-101-FPN": the deeper backbone with a pyramid.
_base_ = '../../mini/ablation_fpn.py'

model = dict(backbone=dict(depth=34))

# Table 2a in miniature, row "ResNet-101-C4": the deeper backbone, stride 16.
_base_ = '../../mini/ablation_c4.py'

model = dict(backbone=dict(depth=34))

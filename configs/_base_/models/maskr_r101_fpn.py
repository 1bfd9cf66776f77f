# ResNet-101 under the same pyramid and heads.
_base_ = 'maskr_r50_fpn.py'

model = dict(backbone=dict(depth=101, init_cfg=dict(checkpoint='torchvision://resnet101')))

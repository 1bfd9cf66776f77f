# ResNet-152 under the same pyramid and heads.
_base_ = 'maskr_r50_fpn_1x.py'

model = dict(
    backbone=dict(depth=152, init_cfg=dict(checkpoint='torchvision://resnet152')))

# LVIS v1 with ResNet-101.
_base_ = 'maskr_r50_fpn_ms-1x.py'

model = dict(
    backbone=dict(depth=101, init_cfg=dict(checkpoint='torchvision://resnet101')))

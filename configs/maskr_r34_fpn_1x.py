# ResNet-34 has basic blocks: a quarter of ResNet-50's channels.
_base_ = 'maskr_r50_fpn_1x.py'

model = dict(
    backbone=dict(depth=34, init_cfg=dict(checkpoint='torchvision://resnet34')),
    neck=dict(in_channels=[64, 128, 256, 512]))

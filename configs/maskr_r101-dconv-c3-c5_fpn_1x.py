# Deformable conv3 to conv5 of ResNet-101.
_base_ = 'maskr_r50-dconv-c3-c5_fpn_1x.py'

model = dict(
    backbone=dict(depth=101, init_cfg=dict(checkpoint='torchvision://resnet101')))

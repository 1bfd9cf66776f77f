# Large-scale jitter for 100 epochs with ResNet-101.
_base_ = 'maskr_r50-syncbn_fpn_lsj-100e.py'

model = dict(
    backbone=dict(depth=101, init_cfg=dict(checkpoint='torchvision://resnet101')))

# ResNet-101 with group normalization.
_base_ = 'maskr_r50-gn_fpn_2x.py'

model = dict(
    backbone=dict(depth=101, init_cfg=dict(checkpoint='open-mmlab://detectron/resnet101_gn')))

# ResNeXt-101-64x4d: 64 groups of 4 channels in each block.
_base_ = 'maskr_r101_fpn.py'

model = dict(
    backbone=dict(
        type='ResNeXt',
        groups=64,
        base_width=4,
        init_cfg=dict(checkpoint='open-mmlab://resnext101_64x4d')))

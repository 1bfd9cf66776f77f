# ResNeXt-101-32x4d: 32 groups of 4 channels in each block.
_base_ = 'maskr_r101_fpn_1x.py'

model = dict(
    backbone=dict(
        type='ResNeXt',
        groups=32,
        base_width=4,
        init_cfg=dict(checkpoint='open-mmlab://resnext101_32x4d')))

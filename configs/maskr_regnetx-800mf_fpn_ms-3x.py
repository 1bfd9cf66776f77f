# RegNetX-800MF.
_base_ = 'maskr_regnetx-3.2gf_fpn_ms-3x.py'

model = dict(
    backbone=dict(
        arch='regnetx_800mf', init_cfg=dict(checkpoint='open-mmlab://regnetx_800mf')),
    neck=dict(in_channels=[64, 128, 288, 672]))

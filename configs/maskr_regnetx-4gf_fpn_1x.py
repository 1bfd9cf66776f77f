# RegNetX-4GF.
_base_ = 'maskr_regnetx-3.2gf_fpn_1x.py'

model = dict(
    backbone=dict(
        arch='regnetx_4.0gf', init_cfg=dict(checkpoint='open-mmlab://regnetx_4.0gf')),
    neck=dict(in_channels=[80, 240, 560, 1360]))

# RegNetX-1.6GF.
_base_ = 'maskr_regnetx-3.2gf_fpn_ms-3x.py'

model = dict(
    backbone=dict(
        arch='regnetx_1.6gf', init_cfg=dict(checkpoint='open-mmlab://regnetx_1.6gf')),
    neck=dict(in_channels=[72, 168, 408, 912]))

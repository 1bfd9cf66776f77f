# RegNetX-12GF.
_base_ = 'maskr_regnetx-3.2gf_fpn_1x.py'

model = dict(
    backbone=dict(
        arch='regnetx_12gf', init_cfg=dict(checkpoint='open-mmlab://regnetx_12gf')),
    neck=dict(in_channels=[224, 448, 896, 2240]))

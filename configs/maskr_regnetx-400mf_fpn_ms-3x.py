# RegNetX-400MF.
_base_ = 'maskr_regnetx-3.2gf_fpn_ms-3x.py'

model = dict(
    backbone=dict(
        arch='regnetx_400mf', init_cfg=dict(checkpoint='open-mmlab://regnetx_400mf')),
    neck=dict(in_channels=[32, 64, 160, 384]))

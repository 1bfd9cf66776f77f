# RegNetX-8GF.
_base_ = 'maskr_regnetx-3.2gf_fpn_1x.py'

model = dict(
    backbone=dict(
        arch='regnetx_8.0gf', init_cfg=dict(checkpoint='open-mmlab://regnetx_8.0gf')),
    neck=dict(in_channels=[80, 240, 720, 1920]))

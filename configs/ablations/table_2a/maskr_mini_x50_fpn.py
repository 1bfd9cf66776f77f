# Table 2a in miniature, row "ResNeXt-101-FPN": grouped convolutions in bottlenecks, as wide.
_base_ = '../../mini/ablation_fpn.py'

model = dict(
    backbone=dict(type='ResNeXt', depth=50, base_channels=8, groups=8, base_width=4),
    neck=dict(in_channels=[32, 64, 128, 256]))

# MobileNetV3-Large of timm under the light heads at 480 pixels.
_base_ = 'maskr_mobilenetv4-s_fpn_480-3x.py'

model = dict(
    backbone=dict(
        model_name='mobilenetv3_large_100',
        init_cfg=dict(checkpoint='timm://mobilenetv3_large_100.ra_in1k')),
    neck=dict(in_channels=[24, 40, 112, 960]))

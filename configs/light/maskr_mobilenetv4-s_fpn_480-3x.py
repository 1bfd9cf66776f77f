# MobileNetV4-Conv-Small of timm under the light heads at 480 pixels.
_base_ = 'maskr_effnet-lite0_fpn_480-3x.py'

model = dict(
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    backbone=dict(
        _delete_=True,
        type='TimmBackbone',
        model_name='mobilenetv4_conv_small',
        out_indices=(1, 2, 3, 4),
        frozen_stages=1,
        init_cfg=dict(
            type='Pretrained', checkpoint='timm://mobilenetv4_conv_small.e2400_r224_in1k')),
    neck=dict(in_channels=[32, 64, 96, 960]))

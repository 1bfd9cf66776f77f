# Detectron2's ResNet-50-DC5: res5 is dilated by 2 instead of strided, so its map has stride 16.
_base_ = 'maskr_r50_c5.py'

model = dict(
    data_preprocessor=dict(
        mean=[103.530, 116.280, 123.675], std=[1.0, 1.0, 1.0], bgr_to_rgb=False),
    backbone=dict(
        strides=(1, 2, 2, 1),
        dilations=(1, 1, 1, 2),
        norm_cfg=dict(requires_grad=False),
        style='caffe',
        init_cfg=dict(checkpoint='open-mmlab://detectron2/resnet50_caffe')),
    rpn_head=dict(anchor_generator=dict(
        scales=[2, 4, 8, 16, 32], strides=[16], scale_major=False)),
    roi_head=dict(
        bbox_roi_extractor=dict(featmap_strides=[16]),
        mask_roi_extractor=dict(featmap_strides=[16])))

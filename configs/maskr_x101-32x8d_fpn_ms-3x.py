# The recipe of Detectron2's mask_rcnn_X_101_32x8d_FPN_3x: Caffe2's ResNeXt has its stride in
# the 3x3 convolutions and divides by the deviation, unlike the other ResNets.
_base_ = 'maskr_r50-caffe_fpn_ms-3x.py'

model = dict(
    data_preprocessor=dict(std=[57.375, 57.120, 58.395]),
    backbone=dict(
        type='ResNeXt',
        depth=101,
        groups=32,
        base_width=8,
        style='pytorch',
        init_cfg=dict(checkpoint='open-mmlab://detectron2/resnext101_32x8d')))

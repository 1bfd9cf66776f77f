# Detectron2's form of ResNet-50-FPN: Caffe's weights, so BGR images without division by their
# deviation, stride in the 1x1 convolutions, and batch normalization fixed altogether.
_base_ = 'maskr_r50_fpn.py'

model = dict(
    data_preprocessor=dict(
        mean=[103.530, 116.280, 123.675], std=[1.0, 1.0, 1.0], bgr_to_rgb=False),
    backbone=dict(
        norm_cfg=dict(requires_grad=False),
        style='caffe',
        init_cfg=dict(checkpoint='open-mmlab://detectron2/resnet50_caffe')),
    roi_head=dict(
        bbox_roi_extractor=dict(level_rule='detectron2'),
        mask_roi_extractor=dict(level_rule='detectron2')),
    train_cfg=dict(rcnn=dict(assigner=dict(match_low_quality=False))))

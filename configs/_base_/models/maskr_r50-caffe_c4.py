# Detectron2's form of ResNet-50-C4: RoIAlign 14x14 into res5 with its stride 2, 512 RoIs an image,
# 1000 proposals. The paper's form is maskr_r50_c4.py.
_base_ = 'maskr_r50_c4.py'

model = dict(
    data_preprocessor=dict(
        mean=[103.530, 116.280, 123.675], std=[1.0, 1.0, 1.0], bgr_to_rgb=False),
    backbone=dict(
        norm_cfg=dict(requires_grad=False),
        style='caffe',
        init_cfg=dict(checkpoint='open-mmlab://detectron2/resnet50_caffe')),
    # its anchors are ordered by ratio first
    rpn_head=dict(anchor_generator=dict(scale_major=False)),
    roi_head=dict(
        shared_head=dict(
            stride=2,
            norm_cfg=dict(requires_grad=False),
            style='caffe',
            init_cfg=dict(checkpoint='open-mmlab://detectron2/resnet50_caffe')),
        bbox_roi_extractor=dict(roi_layer=dict(output_size=14))),
    train_cfg=dict(rcnn=dict(sampler=dict(num=512))),
    test_cfg=dict(rpn=dict(max_per_img=1000)))

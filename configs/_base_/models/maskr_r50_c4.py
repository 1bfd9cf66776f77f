# Mask R-CNN with ResNet-50-C4 as in the paper (section 3.1, Figure 4 left): RoIAlign 7x7 on C4,
# res5 at stride 1, both branches on res5's features: 14x14 masks, 64 RoIs an image, 300 proposals.
_base_ = 'maskr_r50_fpn.py'

model = dict(
    backbone=dict(num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(2, )),
    neck=None,
    rpn_head=dict(
        in_channels=1024,
        feat_channels=1024,
        # one level, so all five scales on it: 32 to 512 pixels
        anchor_generator=dict(scales=[2, 4, 8, 16, 32], strides=[16])),
    roi_head=dict(
        shared_head=dict(
            type='Res5Head',
            depth=50,
            stride=1,
            style='pytorch',
            norm_cfg=dict(type='BN', requires_grad=True),
            norm_eval=True,
            # res5 starts from the same weights as the backbone; without this it would be random
            init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50')),
        bbox_roi_extractor=dict(out_channels=1024, featmap_strides=[16]),
        bbox_head=dict(
            _delete_=True,
            type='BBoxHead',
            with_avg_pool=True,
            roi_feat_size=7,
            in_channels=2048,
            num_classes=80,
            bbox_coder=dict(
                type='DeltaXYWHBBoxCoder',
                target_means=[0.0, 0.0, 0.0, 0.0],
                target_stds=[0.1, 0.1, 0.2, 0.2]),
            reg_class_agnostic=False,
            loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
            loss_bbox=dict(type='L1Loss', loss_weight=1.0)),
        mask_roi_extractor=None,
        mask_head=dict(tower='res5', num_convs=0, in_channels=2048, roi_feat_size=7)),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=12000, max_per_img=2000),
        rcnn=dict(
            assigner=dict(match_low_quality=False),
            sampler=dict(num=64),
            mask_size=14)),
    test_cfg=dict(rpn=dict(nms_pre=6000, max_per_img=300)))

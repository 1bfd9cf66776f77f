# Mask R-CNN with ResNet-50-C5 (Table 2d): one map of stride 32, not dilated, and FPN's heads on it.
_base_ = 'maskr_r50_fpn.py'

model = dict(
    backbone=dict(out_indices=(3, )),
    neck=None,
    rpn_head=dict(
        in_channels=2048,
        feat_channels=2048,
        # one level, so all five scales on it: 32 to 512 pixels
        anchor_generator=dict(scales=[1, 2, 4, 8, 16], strides=[32])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=2048, featmap_strides=[32]),
        bbox_head=dict(in_channels=2048),
        mask_roi_extractor=dict(out_channels=2048, featmap_strides=[32]),
        mask_head=dict(in_channels=2048)),
    # pre-NMS numbers are per level, and there is one
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=12000, max_per_img=2000),
        rcnn=dict(assigner=dict(match_low_quality=False))),
    test_cfg=dict(rpn=dict(nms_pre=6000, max_per_img=1000)))

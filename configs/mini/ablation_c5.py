# Baseline of Table 2d in miniature: one map of stride 32, not dilated.
_base_ = 'ablation_fpn.py'

model = dict(
    backbone=dict(out_indices=(3, )),
    neck=None,
    rpn_head=dict(
        in_channels=256,
        # one level, so all four scales on it: 16 to 128 pixels
        anchor_generator=dict(scales=[0.5, 1, 2, 4], strides=[32])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=256, featmap_strides=[32]),
        bbox_head=dict(in_channels=256),
        mask_roi_extractor=dict(out_channels=256, featmap_strides=[32]),
        mask_head=dict(in_channels=256)))

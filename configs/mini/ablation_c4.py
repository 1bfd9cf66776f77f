# Baseline of Tables 2b and 2c in miniature: one map of stride 16. The paper's C4 has res5 on every
# RoI, which is most of its cost; here the pyramid's heads follow the RoI layer.
_base_ = 'ablation_fpn.py'

model = dict(
    backbone=dict(num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(2, )),
    neck=None,
    rpn_head=dict(
        in_channels=128,
        # one level, so all four scales on it: 16 to 128 pixels
        anchor_generator=dict(scales=[1, 2, 4, 8], strides=[16])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=128, featmap_strides=[16]),
        bbox_head=dict(in_channels=128),
        mask_roi_extractor=dict(out_channels=128, featmap_strides=[16]),
        mask_head=dict(in_channels=128)))

"""The mini model on a toy dataset on which two processes and one must agree exactly.

Losses are means over each process's samples, so the mean over processes equals the mean over the
whole batch only where each image has the same number of samples. Here it has: all images show
boxes at the same places with as many keypoints, every anchor and proposal is sampled, none is
ignored, and the number of proposals is fixed. The images themselves differ, so that the gradients
of the processes do.
"""

_base_ = "../../configs/mini/maskr_shapes.py"

model = dict(
    backbone=dict(norm_cfg=dict(type="GN", num_groups=8)),  # batch statistics would differ
    neck=dict(norm_cfg=None),
    roi_head=dict(keypoint_head=dict(keypoint_labels=None)),
    train_cfg=dict(
        rpn=dict(
            assigner=dict(pos_iou_thr=0.5, neg_iou_thr=0.5, match_low_quality=False),
            sampler=dict(num=100000, pos_fraction=1.0),
        ),
        # NMS that keeps everything
        rpn_proposal=dict(nms_pre=20, max_per_img=40, nms=dict(iou_threshold=1.0)),
        # positive are the ground-truth boxes themselves, negative all proposals
        rcnn=dict(
            assigner=dict(
                pos_iou_thr=0.999, neg_iou_thr=0.999, min_pos_iou=0.999, match_low_quality=False
            ),
            sampler=dict(num=1000, pos_fraction=1.0),
        ),
    ),
)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadKeypointAnnotations", with_bbox=True, with_mask=True),
    dict(type="PackKeypointInputs"),
]
train_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    sampler=dict(shuffle=False),
    dataset=dict(
        pipeline=train_pipeline,
        metainfo=dict(keypoint_classes=("disc", "box", "triangle", "ring", "bar", "figure")),
    ),
)
val_dataloader = None
val_evaluator = None
val_cfg = None
test_dataloader = None
test_evaluator = None
test_cfg = None
train_cfg = dict(_delete_=True, type="EpochBasedTrainLoop", max_epochs=1)
# plain SGD: AdamW divides by the gradient's size and so enlarges rounding differences
optim_wrapper = dict(
    _delete_=True, type="OptimWrapper", optimizer=dict(type="SGD", lr=0.02, momentum=0.9)
)
param_scheduler = []
randomness = dict(seed=0)
custom_imports = dict(imports=["mmdet_maskr", "dump_ranks"])
custom_hooks = [dict(type="DumpRanks")]
default_hooks = dict(checkpoint=dict(interval=1), logger=dict(interval=1))

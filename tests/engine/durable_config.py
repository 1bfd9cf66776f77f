"""The mini model on the small shapes, smaller still: what tests of durability train in seconds.

Random flips and colors in data workers, random RoIs, averaged weights: all that an exact resume
has to bring back. A hook writes each iteration's losses, bit for bit.
"""

_base_ = "../../configs/mini/maskr_shapes.py"

model = dict(
    backbone=dict(base_channels=8),
    neck=dict(in_channels=[8, 16, 32, 64], out_channels=16),
    rpn_head=dict(in_channels=16, feat_channels=16),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=16),
        bbox_head=dict(in_channels=16, fc_out_channels=32),
        mask_roi_extractor=dict(out_channels=16),
        mask_head=dict(in_channels=16, conv_out_channels=16),
        keypoint_roi_extractor=dict(out_channels=16),
        keypoint_head=dict(num_convs=1, in_channels=16, conv_out_channels=16),
    ),
    train_cfg=dict(rcnn=dict(sampler=dict(num=16))),
    test_cfg=dict(rcnn=dict(score_thr=0.0, max_per_img=5)),
)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadKeypointAnnotations", with_bbox=True, with_mask=True),
    dict(type="KeypointRandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackKeypointInputs"),
]
train_dataloader = dict(
    batch_size=2,
    num_workers=1,
    persistent_workers=False,
    dataset=dict(pipeline=train_pipeline),
)
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = dict(num_workers=0, persistent_workers=False)
train_cfg = dict(max_epochs=3, val_interval=2)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=10),
    dict(type="MultiStepLR", by_epoch=True, begin=0, end=3, milestones=[1, 2], gamma=0.5),
]
default_hooks = dict(
    logger=dict(interval=1), checkpoint=dict(interval=1, save_best="coco/segm_mAP")
)
custom_imports = dict(imports=["mmdet_maskr", "write_losses"])
custom_hooks = [
    dict(type="WriteLosses"),
    dict(type="EMAHook"),
    dict(type="LossGuardHook"),
    dict(type="HangGuardHook"),
]

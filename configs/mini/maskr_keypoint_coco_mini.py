# Boxes, masks and keypoints of persons on COCO photos: a small model, from scratch on a CPU, in
# minutes on a folder of some hundred photos (in COCO's own layout: --data-root FOLDER).
_base_ = [
    '../_base_/models/maskr_mini_fpn.py', '../_base_/datasets/coco_keypoint.py',
    '../_base_/default_runtime.py'
]

model = dict(
    # photos are larger than shapes: anchors of 16 to 256 pixels
    neck=dict(num_outs=5),
    rpn_head=dict(anchor_generator=dict(strides=[4, 8, 16, 32, 64])),
    roi_head=dict(
        bbox_head=dict(num_classes=1),
        mask_head=dict(num_classes=1),
        keypoint_roi_extractor=dict(
            type='FPNRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=14, sampling_ratio=0),
            out_channels=64,
            featmap_strides=[4, 8, 16, 32]),
        keypoint_head=dict(
            type='HeatmapKeypointHead',
            num_keypoints=17,
            num_convs=4,
            in_channels=64,
            conv_out_channels=64)))

train_pipeline = _base_.train_pipeline
train_pipeline[2] = dict(type='KeypointResize', scale=(416, 256), keep_ratio=True)
test_pipeline = _base_.test_pipeline
test_pipeline[1] = dict(type='KeypointResize', scale=(416, 256), keep_ratio=True)
train_dataloader = dict(batch_size=4, num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=1, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

train_cfg = dict(type='IterBasedTrainLoop', max_iters=600, val_interval=150)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=0, end=600, T_max=600, eta_min_ratio=0.01)
]
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=0.001, weight_decay=0.01),
    clip_grad=dict(max_norm=10))
auto_scale_lr = dict(enable=False, base_batch_size=4)
default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(by_epoch=False, interval=150))
log_processor = dict(by_epoch=False, window_size=10)

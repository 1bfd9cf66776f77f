# Boxes, masks and keypoints of persons on COCO photos: a small model, from scratch on a CPU, in
# minutes on a folder of some hundred photos (in COCO's own layout: --data-root FOLDER).
_base_ = [
    '../_base_/models/maskr_keypoint_mini_fpn.py', '../_base_/datasets/coco_keypoint.py',
    '../_base_/schedules/schedule_mini_photos.py', '../_base_/iteration_runtime.py'
]

model = dict(
    # photos are larger than shapes: anchors of 16 to 256 pixels
    neck=dict(num_outs=5),
    rpn_head=dict(anchor_generator=dict(strides=[4, 8, 16, 32, 64])),
    roi_head=dict(bbox_head=dict(num_classes=1), mask_head=dict(num_classes=1)))

train_pipeline = _base_.train_pipeline
train_pipeline[2] = dict(type='KeypointResize', scale=(416, 256), keep_ratio=True)
test_pipeline = _base_.test_pipeline
test_pipeline[1] = dict(type='Resize', scale=(416, 256), keep_ratio=True)
train_dataloader = dict(batch_size=4, num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=1, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=150))
log_processor = dict(window_size=10)

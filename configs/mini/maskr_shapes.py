# Boxes, masks and keypoints of the synthetic shapes, from scratch on a CPU in minutes.
_base_ = [
    '../_base_/models/maskr_keypoint_mini_fpn.py', '../_base_/datasets/shapes_instance.py',
    '../_base_/default_runtime.py'
]

model = dict(
    # figure alone has keypoints, the last of the six classes
    roi_head=dict(keypoint_head=dict(num_keypoints=9, keypoint_labels=[5])))

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=9, val_interval=9)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=0, end=9, T_max=9,
         convert_to_iter_based=True, eta_min_ratio=0.01)
]
# AdamW, as SGD needs far longer from scratch.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=0.002, weight_decay=0.01, fused=True),
    clip_grad=dict(max_norm=10))
randomness = dict(seed=0)
auto_scale_lr = dict(enable=False, base_batch_size=8)
default_hooks = dict(logger=dict(interval=20))

# Baseline of Tables 4 to 6 in miniature: boxes, masks and keypoints of the articulated figures
# alone; the other shapes are background.
_base_ = [
    '../_base_/models/maskr_keypoint_mini_fpn.py', '../_base_/datasets/shapes_ablation.py',
    '../_base_/schedules/schedule_mini_ablation.py', '../_base_/default_runtime.py'
]

model = dict(
    roi_head=dict(
        bbox_head=dict(num_classes=1),
        mask_head=dict(num_classes=1),
        keypoint_head=dict(num_keypoints=9)))

metainfo = dict(classes=('figure', ))
train_dataloader = dict(
    dataset=dict(metainfo=metainfo, filter_cfg=dict(min_visible_keypoints=1)))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = val_dataloader
val_evaluator = dict(metric=['bbox', 'segm', 'keypoints'])
test_evaluator = val_evaluator
# about 500 of the 800 images have figures: 13 epochs are as many iterations as elsewhere
train_cfg = dict(max_epochs=13, val_interval=13)
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(end=13, T_max=13)
default_hooks = dict(logger=dict(interval=20))

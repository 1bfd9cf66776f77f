# Baseline of the tables in miniature on a feature pyramid: boxes and masks of the shapes.
_base_ = [
    '../_base_/models/maskr_mini_fpn.py', '../_base_/datasets/shapes_ablation.py',
    '../_base_/schedules/schedule_mini_ablation.py', '../_base_/default_runtime.py'
]

model = dict(roi_head=dict(mask_head=dict(num_convs=4)))
val_evaluator = dict(metric=['bbox', 'segm'])
test_evaluator = val_evaluator
default_hooks = dict(logger=dict(interval=20))

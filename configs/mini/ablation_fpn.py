# Baseline of the tables in miniature on a feature pyramid: boxes and masks of the shapes, in 256
# pixels so that strides of 16 and 32 have something to see (tools/make_shapes.py --size 256).
_base_ = [
    '../_base_/models/maskr_mini_fpn.py', '../_base_/datasets/shapes_instance.py',
    '../_base_/schedules/schedule_mini_ablation.py', '../_base_/default_runtime.py'
]

model = dict(roi_head=dict(mask_head=dict(num_convs=4)))

# workers of their own would be more processes than the rows that run in parallel have cores
train_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False)
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader
val_evaluator = dict(metric=['bbox', 'segm'])
test_evaluator = val_evaluator
randomness = dict(seed=0)
default_hooks = dict(logger=dict(interval=20))

# Swin-T, 3x with scales and crops, in mixed precision.
_base_ = [
    '_base_/models/maskr_swin-t_fpn.py', '_base_/datasets/coco_instance_ms_crop.py',
    '_base_/schedules/schedule_3x_adamw.py', '_base_/default_runtime.py'
]

optim_wrapper = dict(type='AmpOptimWrapper', loss_scale='dynamic')

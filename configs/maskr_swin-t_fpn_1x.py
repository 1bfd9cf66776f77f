# Swin-T, 1x.
_base_ = [
    '_base_/models/maskr_swin-t_fpn.py', '_base_/datasets/coco_instance.py',
    '_base_/schedules/schedule_1x_adamw.py', '_base_/default_runtime.py'
]

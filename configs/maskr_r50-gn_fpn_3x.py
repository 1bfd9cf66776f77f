# Group normalization, 3x.
_base_ = [
    '_base_/models/maskr_r50-gn_fpn.py', '_base_/datasets/coco_instance.py',
    '_base_/schedules/schedule_3x.py', '_base_/default_runtime.py'
]

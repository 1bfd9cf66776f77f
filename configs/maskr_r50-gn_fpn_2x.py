# Group normalization trains longer than frozen batch normalization.
_base_ = [
    '_base_/models/maskr_r50-gn_fpn.py', '_base_/datasets/coco_instance.py',
    '_base_/schedules/schedule_2x.py', '_base_/default_runtime.py'
]

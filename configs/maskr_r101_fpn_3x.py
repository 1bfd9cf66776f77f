# ResNet-101 under the same pyramid and heads.
_base_ = [
    '_base_/models/maskr_r101_fpn.py', '_base_/datasets/coco_instance.py',
    '_base_/schedules/schedule_3x.py', '_base_/default_runtime.py'
]

# Batch normalization over all GPUs, 3x.
_base_ = [
    '_base_/models/maskr_r50-syncbn_fpn.py', '_base_/datasets/coco_instance_ms.py',
    '_base_/schedules/schedule_3x.py', '_base_/default_runtime.py'
]

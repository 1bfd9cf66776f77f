# 3x with the short side drawn from 640 to 800 pixels: long schedules overfit without.
_base_ = [
    '_base_/models/maskr_r50_fpn.py', '_base_/datasets/coco_instance_ms.py',
    '_base_/schedules/schedule_3x.py', '_base_/default_runtime.py'
]

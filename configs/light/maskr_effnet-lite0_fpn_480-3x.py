# EfficientNet-Lite0 at 480 pixels: for live pictures on a CPU.
_base_ = [
    '../_base_/models/maskr_light_fpn.py', '../_base_/datasets/coco_instance_480.py',
    '../_base_/schedules/schedule_3x_light.py', '../_base_/default_runtime.py'
]

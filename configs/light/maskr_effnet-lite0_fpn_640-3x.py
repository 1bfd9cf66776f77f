# EfficientNet-Lite0 at 640 pixels: smaller objects, for 1.7 times the time of 480.
_base_ = [
    '../_base_/models/maskr_light_fpn.py', '../_base_/datasets/coco_instance_640.py',
    '../_base_/schedules/schedule_3x_light.py', '../_base_/default_runtime.py'
]

# 24 to 384 pixels
model = dict(rpn_head=dict(anchor_generator=dict(scales=[6])))

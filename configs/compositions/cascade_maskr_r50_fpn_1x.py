# Cascade Mask R-CNN with our RoI layers, mask heads and RPN.
_base_ = [
    '../_base_/models/cascade_maskr_r50_fpn.py', '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/schedule_1x.py', '../_base_/default_runtime.py'
]

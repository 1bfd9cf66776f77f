# ResNeXt-101-64x4d: 64 groups of 4 channels in each block.
_base_ = [
    '_base_/models/maskr_x101-64x4d_fpn.py', '_base_/datasets/coco_instance.py',
    '_base_/schedules/schedule_2x.py', '_base_/default_runtime.py'
]

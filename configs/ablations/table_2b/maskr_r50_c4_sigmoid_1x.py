# Table 2b, row "sigmoid" (30.3 AP): one mask for each class, without competition between classes.
_base_ = [
    '../../_base_/models/maskr_r50_c4.py', '../../_base_/datasets/coco_instance.py',
    '../../_base_/schedules/schedule_1x.py', '../../_base_/default_runtime.py'
]

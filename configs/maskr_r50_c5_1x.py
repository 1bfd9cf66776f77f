# The paper's C5 form on today's 1x schedule.
_base_ = [
    '_base_/models/maskr_r50_c5.py', '_base_/datasets/coco_instance.py',
    '_base_/schedules/schedule_1x.py', '_base_/default_runtime.py'
]

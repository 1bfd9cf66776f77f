# The 1x schedule counted in iterations.
_base_ = [
    '_base_/models/maskr_r50_fpn.py', '_base_/datasets/coco_instance_iterations.py',
    '_base_/schedules/schedule_90k.py', '_base_/iteration_runtime.py'
]

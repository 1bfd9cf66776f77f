# The paper's ResNet-101-FPN (Tables 1, 2a and 3).
_base_ = [
    '_base_/models/maskr_r101_fpn.py', '_base_/datasets/coco_instance_iterations.py',
    '_base_/schedules/schedule_160k.py', '_base_/iteration_runtime.py'
]

model = dict(backbone=dict(norm_cfg=dict(requires_grad=False)))

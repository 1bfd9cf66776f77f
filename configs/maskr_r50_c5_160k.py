# The paper's ResNet-50-C5 with RoIAlign (Table 2d).
_base_ = [
    '_base_/models/maskr_r50_c5.py', '_base_/datasets/coco_instance_iterations.py',
    '_base_/schedules/schedule_160k.py', '_base_/iteration_runtime.py'
]

model = dict(backbone=dict(norm_cfg=dict(requires_grad=False)))

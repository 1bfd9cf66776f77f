# The paper's ResNet-50-FPN (Table 2a): 160k iterations, batch normalization fixed altogether.
_base_ = [
    '_base_/models/maskr_r50_fpn.py', '_base_/datasets/coco_instance_iterations.py',
    '_base_/schedules/schedule_160k.py', '_base_/iteration_runtime.py'
]

model = dict(backbone=dict(norm_cfg=dict(requires_grad=False)))

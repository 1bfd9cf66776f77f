# The paper's ResNet-50-C4 (Tables 2a to 2c): batch normalization is fixed, in res5 too.
_base_ = [
    '_base_/models/maskr_r50_c4.py', '_base_/datasets/coco_instance_iterations.py',
    '_base_/schedules/schedule_160k.py', '_base_/iteration_runtime.py'
]

model = dict(
    backbone=dict(norm_cfg=dict(requires_grad=False)),
    roi_head=dict(shared_head=dict(norm_cfg=dict(requires_grad=False))))

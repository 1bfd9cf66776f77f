# Table 7, row "fine": ResNet-50-FPN on Cityscapes from ImageNet, 8 GPUs with one image each.
_base_ = [
    '../_base_/models/maskr_r50_fpn.py', '../_base_/datasets/cityscapes_instance.py',
    '../_base_/schedules/schedule_24k_cityscapes.py', '../_base_/iteration_runtime.py'
]

model = dict(
    backbone=dict(norm_cfg=dict(requires_grad=False)),
    roi_head=dict(bbox_head=dict(num_classes=8), mask_head=dict(num_classes=8)))
default_hooks = dict(checkpoint=dict(interval=4000))

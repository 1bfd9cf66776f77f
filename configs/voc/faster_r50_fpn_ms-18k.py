# Boxes of PASCAL VOC with Faster R-CNN, ResNet-50-FPN.
_base_ = [
    '../_base_/models/faster_r50_fpn.py', '../_base_/datasets/voc0712.py',
    '../_base_/schedules/schedule_18k_voc.py', '../_base_/iteration_runtime.py'
]

model = dict(roi_head=dict(bbox_head=dict(num_classes=20)))
default_hooks = dict(checkpoint=dict(interval=3000))

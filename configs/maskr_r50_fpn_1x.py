# Mask R-CNN, ResNet-50-FPN, 1x: 16 images a batch (8 GPUs x 2), lr 0.02, 12 epochs = 90k steps.
_base_ = [
    '_base_/models/maskr_r50_fpn.py', '_base_/datasets/coco_instance.py',
    '_base_/schedules/schedule_1x.py', '_base_/default_runtime.py'
]

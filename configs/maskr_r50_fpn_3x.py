# Mask R-CNN, ResNet-50-FPN, 3x: 36 epochs, 16 images a batch, lr 0.02.
_base_ = [
    '_base_/models/maskr_r50_fpn.py', '_base_/datasets/coco_instance.py',
    '_base_/schedules/schedule_3x.py', '_base_/default_runtime.py'
]

# The Caffe backbone at one scale, as mmdet's mask-rcnn_r50-caffe_fpn_1x.
_base_ = [
    '_base_/models/maskr_r50-caffe_fpn.py', '_base_/datasets/coco_instance.py',
    '_base_/schedules/schedule_1x.py', '_base_/default_runtime.py'
]

# The recipe of Detectron2's mask_rcnn_R_50_C4_3x.
_base_ = [
    '_base_/models/maskr_r50-caffe_c4.py', '_base_/datasets/coco_instance_ms.py',
    '_base_/schedules/schedule_3x_detectron2.py', '_base_/default_runtime.py'
]

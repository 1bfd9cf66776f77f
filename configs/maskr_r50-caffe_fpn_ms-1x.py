# The recipe of Detectron2's mask_rcnn_R_50_FPN_1x; all its baselines draw the short side
# from 640 to 800. For the outputs of its code to rounding, convert its weights (docs/weights.md).
_base_ = [
    '_base_/models/maskr_r50-caffe_fpn.py', '_base_/datasets/coco_instance_ms.py',
    '_base_/schedules/schedule_1x_detectron2.py', '_base_/default_runtime.py'
]

# The recipe of Detectron2's mask_rcnn_R_50_FPN_3x, counted in iterations as there.
_base_ = [
    '_base_/models/maskr_r50-caffe_fpn.py', '_base_/datasets/coco_instance_ms_iterations.py',
    '_base_/schedules/schedule_270k.py', '_base_/iteration_runtime.py'
]

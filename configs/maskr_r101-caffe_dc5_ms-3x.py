# The recipe of Detectron2's mask_rcnn_R_101_DC5_3x.
_base_ = 'maskr_r50-caffe_dc5_ms-3x.py'

model = dict(
    backbone=dict(
        depth=101, init_cfg=dict(checkpoint='open-mmlab://detectron2/resnet101_caffe')))

# The recipe of Detectron2's mask_rcnn_R_101_FPN_3x.
_base_ = 'maskr_r50-caffe_fpn_ms-3x.py'

model = dict(
    backbone=dict(
        depth=101, init_cfg=dict(checkpoint='open-mmlab://detectron2/resnet101_caffe')))

# The recipe of Detectron2's mask_rcnn_R_101_C4_3x. res5 has three blocks in both backbones,
# but its own weights.
_base_ = 'maskr_r50-caffe_c4_ms-3x.py'

model = dict(
    backbone=dict(
        depth=101, init_cfg=dict(checkpoint='open-mmlab://detectron2/resnet101_caffe')),
    roi_head=dict(
        shared_head=dict(
            depth=101, init_cfg=dict(checkpoint='open-mmlab://detectron2/resnet101_caffe'))))

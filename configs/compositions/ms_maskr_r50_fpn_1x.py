# Mask Scoring R-CNN (Huang et al. 2019): a head learns each mask's IoU, which scales its score. It
# looks at the masks of all classes, so mmdet's RoI head stays.
_base_ = '../maskr_r50_fpn_1x.py'

model = dict(
    type='MaskScoringRCNN',
    roi_head=dict(
        type='MaskScoringRoIHead',
        mask_iou_head=dict(
            type='MaskIoUHead',
            num_convs=4,
            num_fcs=2,
            roi_feat_size=14,
            in_channels=256,
            conv_out_channels=256,
            fc_out_channels=1024,
            num_classes=80)),
    train_cfg=dict(rcnn=dict(mask_thr_binary=0.5)))

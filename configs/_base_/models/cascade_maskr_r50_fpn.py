# Cascade Mask R-CNN (Cai and Vasconcelos 2019): three stages with rising IoU thresholds, each with
# a box and a mask head; boxes are regressed for all classes at once.
_base_ = 'maskr_r50_fpn.py'

roi_head = _base_.model.roi_head
rcnn = _base_.model.train_cfg.rcnn
model = dict(
    roi_head=dict(
        type='CascadeRoIHead',
        num_stages=3,
        stage_loss_weights=[1, 0.5, 0.25],
        bbox_head=[
            dict(
                roi_head.bbox_head,
                reg_class_agnostic=True,
                bbox_coder=dict(
                    type='DeltaXYWHBBoxCoder',
                    target_means=[0.0, 0.0, 0.0, 0.0],
                    target_stds=[xy, xy, wh, wh]),
                loss_bbox=dict(type='SmoothL1Loss', beta=1.0, loss_weight=1.0))
            for xy, wh in ((0.1, 0.2), (0.05, 0.1), (0.033, 0.067))
        ]),
    train_cfg=dict(rcnn=[
        dict(rcnn, assigner=dict(
            type='MaxIoUAssigner', pos_iou_thr=iou, neg_iou_thr=iou, min_pos_iou=iou,
            match_low_quality=False, ignore_iof_thr=-1)) for iou in (0.5, 0.6, 0.7)
    ]))
del roi_head, rcnn

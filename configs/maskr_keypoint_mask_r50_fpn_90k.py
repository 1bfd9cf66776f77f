# Boxes, masks and keypoints of persons, ResNet-50-FPN: the paper's schedule for keypoints, 90k
# iterations of 16 images; proposals and box loss of Detectron2, and a backbone that learns its
# batch normalization, which both of them fix.
_base_ = [
    '_base_/models/maskr_keypoint_r50_fpn.py', '_base_/datasets/coco_keypoint.py',
    '_base_/schedules/schedule_90k.py', '_base_/iteration_runtime.py'
]

model = dict(
    roi_head=dict(
        bbox_head=dict(
            num_classes=1,
            # as Detectron2 trains its keypoint models
            loss_bbox=dict(_delete_=True, type='SmoothL1Loss', beta=0.5, loss_weight=1.0)),
        mask_head=dict(num_classes=1)),
    # Detectron2's, for its keypoint models
    train_cfg=dict(rpn_proposal=dict(max_per_img=1500)))

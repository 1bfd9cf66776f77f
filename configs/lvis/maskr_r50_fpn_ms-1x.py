# LVIS v1, ResNet-50-FPN, 1x. Low-scored detections of rare classes count: threshold 0.0001 and 300
# detections an image, as LVIS's evaluation allows.
_base_ = [
    '../_base_/models/maskr_r50_fpn.py', '../_base_/datasets/lvis_v1_instance.py',
    '../_base_/schedules/schedule_1x.py', '../_base_/default_runtime.py'
]

model = dict(
    roi_head=dict(bbox_head=dict(num_classes=1203), mask_head=dict(num_classes=1203)),
    test_cfg=dict(rcnn=dict(score_thr=0.0001, max_per_img=300)))

# Masks of COCO's 80 classes and keypoints of persons in one model, ResNet-50-FPN, 1x.
_base_ = [
    '_base_/models/maskr_keypoint_r50_fpn.py', '_base_/datasets/coco_joint.py',
    '_base_/schedules/schedule_1x.py', '_base_/default_runtime.py'
]

model = dict(roi_head=dict(keypoint_head=dict(keypoint_labels=[0])))  # of the 80: person

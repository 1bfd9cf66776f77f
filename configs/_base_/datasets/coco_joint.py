# Instances of COCO's 80 classes and the keypoints of persons in one dataset: the keypoints of
# person_keypoints_*.json are given to the annotations of instances_*.json that have the same id.
_base_ = 'coco_instance.py'

dataset_type = 'CocoJointDataset'
data_root = 'data/coco/'

train_pipeline = [
    dict(type='LoadImageFromFile'),
    # masks stay geometry
    dict(type='LoadKeypointAnnotations', with_bbox=True, with_mask=True, poly2mask=None),
    dict(type='KeypointResize', scale=(1333, 800), keep_ratio=True),
    dict(type='KeypointRandomFlip', prob=0.5),
    dict(type='PackKeypointInputs')
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(1333, 800), keep_ratio=True),
    # ground truth is drawn next to the predictions; it keeps the original size
    dict(type='LoadKeypointAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='PackKeypointInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))
]
train_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        keypoint_ann_file='annotations/person_keypoints_train2017.json',
        pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        keypoint_ann_file='annotations/person_keypoints_val2017.json',
        pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(
    keypoint_ann_file=data_root + 'annotations/person_keypoints_val2017.json',
    metric=['bbox', 'segm', 'keypoints'])
test_evaluator = val_evaluator

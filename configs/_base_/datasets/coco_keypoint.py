# COCO's persons with keypoints: images with at least one labeled keypoint, short side drawn from
# 640 to 800 pixels (He et al. 2017, section 5).
_base_ = 'coco_instance.py'

dataset_type = 'CocoKeypointDataset'
data_root = 'data/coco/'

train_pipeline = [
    dict(type='LoadImageFromFile'),
    # masks stay geometry
    dict(type='LoadKeypointAnnotations', with_bbox=True, with_mask=True, poly2mask=None),
    dict(
        type='RandomChoiceResize',
        scales=[(1333, side) for side in range(640, 801, 32)],
        keep_ratio=True,
        resize_type='KeypointResize'),
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
    sampler=dict(_delete_=True, type='InfiniteSampler'),
    dataset=dict(
        type=dataset_type,
        ann_file='annotations/person_keypoints_train2017.json',
        filter_cfg=dict(min_visible_keypoints=1),
        pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        ann_file='annotations/person_keypoints_val2017.json',
        pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(
    ann_file=data_root + 'annotations/person_keypoints_val2017.json',
    metric=['bbox', 'segm', 'keypoints'])
test_evaluator = val_evaluator

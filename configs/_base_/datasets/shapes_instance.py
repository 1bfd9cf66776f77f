# The synthetic shapes (python tools/make_shapes.py data/shapes): boxes and masks of six classes,
# keypoints of the class "figure".
_base_ = 'coco_instance.py'

dataset_type = 'ShapesDataset'
data_root = 'data/shapes/'

train_pipeline = [
    dict(type='LoadImageFromFile'),
    # masks stay geometry
    dict(type='LoadKeypointAnnotations', with_bbox=True, with_mask=True, poly2mask=None),
    # the images are small and of one size: no resize
    dict(type='KeypointRandomFlip', prob=0.5),
    dict(type='PackKeypointInputs')
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale_factor=1.0),  # the heads need a scale factor
    # ground truth is drawn next to the predictions; it keeps the original size
    dict(type='LoadKeypointAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='PackKeypointInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))
]

train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    drop_last=True,
    batch_sampler=None,
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='train/'),
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=4,
    num_workers=1,
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='val/'),
        pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(
    ann_file=data_root + 'annotations/instances_val.json',
    metric=['bbox', 'segm', 'keypoints'])
test_evaluator = val_evaluator

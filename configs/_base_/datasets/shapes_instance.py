# The synthetic shapes (python tools/make_shapes.py data/shapes): six classes, boxes and masks.
_base_ = 'coco_instance.py'

dataset_type = 'ShapesDataset'
data_root = 'data/shapes/'

train_pipeline = _base_.train_pipeline
del train_pipeline[2]  # the images are small and of one size: no Resize
test_pipeline = _base_.test_pipeline
test_pipeline[1] = dict(type='Resize', scale_factor=1.0)  # the heads need a scale factor

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

val_evaluator = dict(ann_file=data_root + 'annotations/instances_val.json')
test_evaluator = val_evaluator

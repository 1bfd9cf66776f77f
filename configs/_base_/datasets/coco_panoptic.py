# COCO panoptic segmentation: 80 classes of things, 53 of stuff.
_base_ = 'coco_instance.py'

dataset_type = 'CocoPanopticDataset'
data_root = 'data/coco/'

train_pipeline = _base_.train_pipeline
train_pipeline[1] = dict(type='LoadPanopticAnnotations')
test_pipeline = _base_.test_pipeline
test_pipeline[2] = dict(type='LoadPanopticAnnotations')
train_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        ann_file='annotations/panoptic_train2017.json',
        data_prefix=dict(img='train2017/', seg='annotations/panoptic_train2017/'),
        pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        ann_file='annotations/panoptic_val2017.json',
        data_prefix=dict(img='val2017/', seg='annotations/panoptic_val2017/'),
        pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(
    _delete_=True,
    type='CocoPanopticMetric',
    ann_file=data_root + 'annotations/panoptic_val2017.json',
    seg_prefix=data_root + 'annotations/panoptic_val2017/')
test_evaluator = val_evaluator

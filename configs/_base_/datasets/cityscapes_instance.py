# Cityscapes instances: eight classes, images of 2048 x 1024 (python tools/convert_cityscapes.py).
_base_ = 'coco_instance_iterations.py'

dataset_type = 'CityscapesInstanceDataset'
data_root = 'data/cityscapes/'

# the paper: short side from 800 to 1024 in training, 1024 in tests (appendix A)
train_pipeline = _base_.train_pipeline
train_pipeline[2] = dict(type='RandomResize', scale=[(2048, 800), (2048, 1024)], keep_ratio=True)
test_pipeline = _base_.test_pipeline
test_pipeline[1] = dict(type='Resize', scale=(2048, 1024), keep_ratio=True)

train_dataloader = dict(
    batch_size=1,
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/instancesonly_filtered_gtFine_train.json',
        data_prefix=dict(img='leftImg8bit/train/'),
        pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/instancesonly_filtered_gtFine_val.json',
        data_prefix=dict(img='leftImg8bit/val/'),
        pipeline=test_pipeline))
test_dataloader = val_dataloader

# COCO's AP, and that of cityscapesscripts on label images, which the paper reports
val_evaluator = [
    dict(
        type='CocoInstanceMetric',
        ann_file=data_root + 'annotations/instancesonly_filtered_gtFine_val.json',
        metric=['bbox', 'segm']),
    dict(type='CityscapesInstanceMetric', seg_prefix=data_root + 'gtFine/val')
]
test_evaluator = val_evaluator

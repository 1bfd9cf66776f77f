# Shapes of five bands with 16 bits: maskr shapes data/shapes_bands --bands 5
_base_ = 'maskr_shapes.py'

data_root = 'data/shapes_bands/'

model = dict(
    # maskr check prints them, with --bands, of its annotations and images
    data_preprocessor=dict(
        type='BandsDataPreprocessor',
        mean=[8116.4, 8433.6, 8224.8, 8367.9, 8386.8],
        std=[2717.1, 3239.6, 2256.5, 2544.3, 2698.5],
        bgr_to_rgb=False),
    backbone=dict(in_channels=5))

train_pipeline = [
    dict(type='LoadBands', channels=5),
    dict(type='LoadKeypointAnnotations', with_bbox=True, with_mask=True, poly2mask=None),
    dict(type='KeypointRandomFlip', prob=0.5),
    dict(type='PackKeypointInputs')
]
test_pipeline = [
    dict(type='LoadBands', channels=5),
    dict(type='Resize', scale_factor=1.0),  # the heads need a scale factor
    dict(type='LoadKeypointAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='PackKeypointInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))
]
train_dataloader = dict(dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val.json')
test_evaluator = val_evaluator

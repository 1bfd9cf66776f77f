# COCO instances whose long side is 480 pixels; in training half to twice of that, cropped to it.
_base_ = 'coco_instance.py'

side = (480, 480)
train_pipeline = _base_.train_pipeline
train_pipeline[2:3] = [
    dict(type='RandomResize', scale=side, ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_type='absolute', crop_size=side, recompute_bbox=True,
         allow_negative_crop=True),
    # what the crop left of an object may be a sliver
    dict(type='FilterAnnotations', min_gt_bbox_wh=(0.01, 0.01))
]
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=side)
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
del side

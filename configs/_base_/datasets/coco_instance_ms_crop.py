# COCO instances as DETR and Swin augment them: the short side from 480 to 800, half the time after
# a crop of a smaller version.
_base_ = 'coco_instance.py'

resize = dict(
    type='RandomChoiceResize',
    scales=[(side, 1333) for side in range(480, 801, 32)],
    keep_ratio=True)
train_pipeline = _base_.train_pipeline
train_pipeline[2] = dict(
    type='RandomChoice',
    transforms=[[resize],
                [
                    dict(type='RandomChoiceResize',
                         scales=[(side, 1333) for side in (400, 500, 600)], keep_ratio=True),
                    dict(type='RandomCrop', crop_type='absolute_range', crop_size=(384, 600),
                         allow_negative_crop=True),
                    resize
                ]])
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

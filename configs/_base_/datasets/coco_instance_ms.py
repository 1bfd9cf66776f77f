# COCO instances with the short side drawn from 640 to 800 pixels in steps of 32 (multi-scale).
_base_ = 'coco_instance.py'

train_pipeline = _base_.train_pipeline
train_pipeline[2] = dict(
    type='RandomChoiceResize',
    scales=[(1333, side) for side in range(640, 801, 32)],
    keep_ratio=True)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

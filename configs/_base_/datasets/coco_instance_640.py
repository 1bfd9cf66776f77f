# COCO instances whose long side is 640 pixels; in training half to twice of that, cropped to it.
_base_ = 'coco_instance_480.py'

side = (640, 640)
train_pipeline = _base_.train_pipeline
train_pipeline[2].update(scale=side)
train_pipeline[3].update(crop_size=side)
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=side)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
del side

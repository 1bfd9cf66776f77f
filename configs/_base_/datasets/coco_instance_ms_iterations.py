# COCO at several scales for schedules that count iterations: images are drawn without end.
_base_ = 'coco_instance_ms.py'

train_dataloader = dict(sampler=dict(type='InfiniteSampler'))

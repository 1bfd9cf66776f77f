# COCO for schedules that count iterations: images are drawn without end.
_base_ = 'coco_instance.py'

train_dataloader = dict(sampler=dict(type='InfiniteSampler'))

# Detectron2's PASCAL VOC recipe: 18k iterations of 16 images, drops at 12k and 16k.
_base_ = 'schedule_90k.py'

train_cfg = dict(max_iters=18000, val_interval=3000)
param_scheduler = _base_.param_scheduler
param_scheduler[0].update(end=100)
param_scheduler[1].update(end=18000, milestones=[12000, 16000])

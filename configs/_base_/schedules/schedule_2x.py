# 24 epochs of 117k images in batches of 16: 180k iterations, with drops after two thirds and 11/12.
_base_ = 'schedule_1x.py'

train_cfg = dict(max_epochs=24)
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(end=24, milestones=[16, 22])

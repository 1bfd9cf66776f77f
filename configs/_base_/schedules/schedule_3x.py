# 36 epochs of 117k images in batches of 16: Detectron2's 270k iterations, which drop at 210k and
# 250k, later than two thirds.
_base_ = 'schedule_1x.py'

train_cfg = dict(max_epochs=36)
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(end=36, milestones=[28, 34])

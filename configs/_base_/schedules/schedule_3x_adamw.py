# 36 epochs with AdamW; drops after 27 and 33, as Swin's authors train.
_base_ = 'schedule_1x_adamw.py'

train_cfg = dict(max_epochs=36)
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(end=36, milestones=[27, 33])

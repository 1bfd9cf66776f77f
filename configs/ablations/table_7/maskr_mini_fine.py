# Table 7 in miniature, row "fine": an eighth of the training images, from scratch.
_base_ = '../../mini/ablation_fpn.py'

train_dataloader = dict(dataset=dict(indices=100))
train_cfg = dict(max_epochs=32, val_interval=32)
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(end=32, T_max=32)

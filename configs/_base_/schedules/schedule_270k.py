# Detectron2's 3x in iterations: 270k of 16 images, 1000 of them a warm-up, drops at 210k and 250k.
_base_ = 'schedule_90k.py'

train_cfg = dict(max_iters=270000)
param_scheduler = _base_.param_scheduler
param_scheduler[0].update(end=1000)
param_scheduler[1].update(end=270000, milestones=[210000, 250000])

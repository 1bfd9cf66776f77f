# Detectron2's 1x: 90k iterations of 16 images counted in epochs, the first 1000 of them a warm-up.
_base_ = 'schedule_1x.py'

param_scheduler = _base_.param_scheduler
param_scheduler[0].update(end=1000)

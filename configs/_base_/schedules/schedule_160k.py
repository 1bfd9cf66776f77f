# The paper's recipe (section 3.1): 160k iterations of 16 images at lr 0.02, a tenth from 120k on.
_base_ = 'schedule_90k.py'

train_cfg = dict(max_iters=160000)
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(end=160000, milestones=[120000])

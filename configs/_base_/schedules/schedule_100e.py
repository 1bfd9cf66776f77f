# 100 epochs for large-scale jitter (Ghiasi et al. 2021): 64 images a batch, lr 0.1, drops after
# 8/9 and 24/25 of the time; Detectron2 trains its new baselines so.
_base_ = 'schedule_1x.py'

train_cfg = dict(max_epochs=100, val_interval=10)
param_scheduler = _base_.param_scheduler
param_scheduler[0].update(start_factor=0.067)
param_scheduler[1].update(end=100, milestones=[89, 96])
optim_wrapper = dict(optimizer=dict(lr=0.1, weight_decay=0.00004))

# lr 0.1 is for 64 images
auto_scale_lr = dict(base_batch_size=64)

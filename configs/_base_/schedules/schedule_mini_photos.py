# 600 iterations of 4 small photos, from scratch on a CPU. AdamW, as SGD needs far longer.
train_cfg = dict(type='IterBasedTrainLoop', max_iters=600, val_interval=150)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=0, end=600, T_max=600, eta_min_ratio=0.01)
]
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=0.001, weight_decay=0.01, fused=True),
    clip_grad=dict(max_norm=10))
auto_scale_lr = dict(enable=False, base_batch_size=4)

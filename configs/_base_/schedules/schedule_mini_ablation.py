# One schedule for every row of the tables in miniature: 800 iterations of 8 images. It was chosen
# on the baseline mini/ablation_c4.py before any rows were compared. AdamW, as SGD needs far longer
# from scratch.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=8, val_interval=8)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=0, end=8, T_max=8,
         convert_to_iter_based=True, eta_min_ratio=0.01)
]
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=0.002, weight_decay=0.01, fused=True),
    clip_grad=dict(max_norm=10))
auto_scale_lr = dict(enable=False, base_batch_size=8)
randomness = dict(seed=0)

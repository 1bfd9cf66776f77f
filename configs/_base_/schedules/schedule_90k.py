# 90k iterations of 16 images: the 1x schedule in Detectron's units, drops at 60k and 80k; also the
# keypoint schedule of He et al. 2017, section 5.
train_cfg = dict(type='IterBasedTrainLoop', max_iters=90000, val_interval=10000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', by_epoch=False, begin=0, end=90000, milestones=[60000, 80000],
         gamma=0.1)
]
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=0.0001))

# lr 0.02 is for 8 GPUs x 2 images; --auto-scale-lr scales it to the batch size that is used.
auto_scale_lr = dict(enable=False, base_batch_size=16)

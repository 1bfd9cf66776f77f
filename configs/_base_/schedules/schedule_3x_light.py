# 36 epochs of light models, 16 images a batch on one GPU, with AdamW; what is pretrained learns
# with a quarter of the learning rate.
_base_ = 'schedule_3x_adamw.py'

optim_wrapper = dict(
    optimizer=dict(lr=0.0004),
    clip_grad=dict(max_norm=10.0),
    paramwise_cfg=dict(
        _delete_=True, norm_decay_mult=0.0, custom_keys={'backbone.': dict(lr_mult=0.25)}))

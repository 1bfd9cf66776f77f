# 12 epochs with AdamW, as transformers are trained: no weight decay for norms and position tables.
_base_ = 'schedule_1x.py'

param_scheduler = _base_.param_scheduler
param_scheduler[0].update(end=1000)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=0.0001, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(
        custom_keys={
            'absolute_pos_embed': dict(decay_mult=0.0),
            'relative_position_bias_table': dict(decay_mult=0.0),
            'norm': dict(decay_mult=0.0)
        }))

# ViTDet's 100 epochs: AdamW for 64 images a batch in mixed precision. The learning rate decays by
# 0.7 from block to block down the transformer; positions and norms have no weight decay.
_base_ = 'schedule_1x.py'

train_cfg = dict(max_epochs=100, val_interval=10)
param_scheduler = _base_.param_scheduler
param_scheduler[0].update(end=250)
# iterations 163,889 and 177,546 of 184,375
param_scheduler[1].update(end=100, milestones=[89, 96])
optim_wrapper = dict(
    type='AmpOptimWrapper',
    loss_scale='dynamic',
    optimizer=dict(
        _delete_=True, type='AdamW', lr=0.0001, betas=(0.9, 0.999), weight_decay=0.1),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        custom_keys={
            'backbone.pos_embed': dict(lr_mult=0.7**13, decay_mult=0.0),
            'backbone.patch_embed': dict(lr_mult=0.7**13),
            # the longer key counts: norms in blocks need one of their own
            **{f'backbone.blocks.{i}.': dict(lr_mult=0.7**(12 - i)) for i in range(12)},
            **{f'backbone.blocks.{i}.norm': dict(lr_mult=0.7**(12 - i), decay_mult=0.0)
               for i in range(12)}
        }))

# lr 0.0001 is for 64 images
auto_scale_lr = dict(base_batch_size=64)

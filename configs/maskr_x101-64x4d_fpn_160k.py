# The paper's ResNeXt-101-FPN (Tables 1, 2a and 3): one image per GPU and half the learning rate.
# The paper does not name the groups.
_base_ = 'maskr_r101_fpn_160k.py'

model = dict(
    backbone=dict(
        type='ResNeXt',
        groups=64,
        base_width=4,
        init_cfg=dict(checkpoint='open-mmlab://resnext101_64x4d')))
train_dataloader = dict(batch_size=1)
optim_wrapper = dict(optimizer=dict(lr=0.01))
auto_scale_lr = dict(base_batch_size=8)

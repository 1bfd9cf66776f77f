# ConvNeXt-Tiny of timm under the light heads at 480 pixels: for GPUs. The learning rate decays by
# 0.7 from layer to layer down to the stem.
_base_ = 'maskr_mobilenetv4-s_fpn_480-3x.py'

model = dict(
    backbone=dict(
        model_name='convnext_tiny',
        out_indices=(0, 1, 2, 3),
        frozen_stages=-1,
        drop_path_rate=0.2,
        init_cfg=dict(checkpoint='timm://convnext_tiny.in12k_ft_in1k')),
    neck=dict(in_channels=[96, 192, 384, 768]))
optim_wrapper = dict(
    constructor='BackboneLayerDecayConstructor',
    paramwise_cfg=dict(_delete_=True, decay_rate=0.7, norm_decay_mult=0.0))

# ViTDet-B (Li et al. 2022): a plain ViT-B pretrained by MAE, attention in windows of 14 patches but
# for every third block, a simple feature pyramid, and layer normalization in the heads.
_base_ = 'maskr_r50_fpn.py'

norm_cfg = dict(type='ChannelLayerNorm', eps=1e-6)
model = dict(
    # relative positions are made for maps of 64 x 64, so every batch is padded to 1024 x 1024
    data_preprocessor=dict(pad_size_divisor=1024),
    backbone=dict(
        _delete_=True,
        type='PlainViT',
        embed_dim=768,
        depth=12,
        num_heads=12,
        img_size=1024,
        window_size=14,
        global_blocks=(2, 5, 8, 11),
        drop_path_rate=0.1,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_base.pth')),
    neck=dict(
        _delete_=True,
        type='SimpleFeaturePyramid',
        in_channels=768,
        out_channels=256,
        num_outs=5),
    rpn_head=dict(num_convs=2),
    roi_head=dict(
        bbox_roi_extractor=dict(level_rule='detectron2'),
        bbox_head=dict(type='Shared4Conv1FCBBoxHead', conv_out_channels=256, norm_cfg=norm_cfg),
        mask_roi_extractor=dict(level_rule='detectron2'),
        mask_head=dict(norm_cfg=norm_cfg)),
    train_cfg=dict(rcnn=dict(assigner=dict(match_low_quality=False))))

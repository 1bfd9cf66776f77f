# PointRend (Kirillov et al. 2020): a coarse mask of 7x7 from the finest level, refined at uncertain
# points. Both read single points, so its own RoI layer for masks stays.
_base_ = '../maskr_r50_fpn_1x.py'

model = dict(
    type='PointRend',
    roi_head=dict(
        type='MaskRPointRendRoIHead',
        mask_roi_extractor=dict(
            _delete_=True,
            type='GenericRoIExtractor',
            aggregation='concat',
            roi_layer=dict(type='SimpleRoIAlign', output_size=14),
            out_channels=256,
            featmap_strides=[4]),
        mask_head=dict(
            _delete_=True,
            type='CoarseMaskHead',
            num_fcs=2,
            in_channels=256,
            conv_out_channels=256,
            fc_out_channels=1024,
            num_classes=80,
            loss_mask=dict(type='CrossEntropyLoss', use_mask=True, loss_weight=1.0)),
        point_head=dict(
            type='MaskPointHead',
            num_fcs=3,
            in_channels=256,
            fc_channels=256,
            num_classes=80,
            coarse_pred_each_layer=True,
            loss_point=dict(type='CrossEntropyLoss', use_mask=True, loss_weight=1.0))),
    train_cfg=dict(
        rcnn=dict(
            mask_size=7, num_points=14 * 14, oversample_ratio=3, importance_sample_ratio=0.75)),
    test_cfg=dict(
        rcnn=dict(subdivision_steps=5, subdivision_num_points=28 * 28, scale_factor=2)))

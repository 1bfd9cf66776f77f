# Baseline of Tables 4 to 6 in miniature: boxes, masks and keypoints of the articulated figures
# alone; the other shapes are background.
_base_ = 'ablation_fpn.py'

model = dict(
    roi_head=dict(
        bbox_head=dict(num_classes=1),
        mask_head=dict(num_classes=1),
        keypoint_roi_extractor=dict(
            type='FPNRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=14, sampling_ratio=0),
            out_channels=64,
            featmap_strides=[4, 8, 16, 32]),
        keypoint_head=dict(
            type='HeatmapKeypointHead',
            num_keypoints=9,
            num_convs=4,
            in_channels=64,
            conv_out_channels=64)))

metainfo = dict(classes=('figure', ))
train_dataloader = dict(
    dataset=dict(metainfo=metainfo, filter_cfg=dict(min_visible_keypoints=1)))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = val_dataloader
val_evaluator = dict(metric=['bbox', 'segm', 'keypoints'])
test_evaluator = val_evaluator
# about 500 of the 800 images have figures: six epochs are as many iterations as elsewhere
train_cfg = dict(max_epochs=6, val_interval=6)
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(end=6, T_max=6)

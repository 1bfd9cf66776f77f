# Boxes, masks and keypoints, ResNet-50-FPN. The keypoint branch is that of He et al. 2017, section
# 5: 14x14 RoI features, eight 3x3 convolutions of width 512, deconvolution and bilinear upsampling
# to a 56x56 heatmap for each keypoint.
_base_ = 'maskr_r50_fpn.py'

model = dict(
    roi_head=dict(
        keypoint_roi_extractor=dict(
            type='LevelRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=14, sampling_ratio=0),
            out_channels=256,
            featmap_strides=[4, 8, 16, 32]),
        keypoint_head=dict(
            type='HeatmapKeypointHead',
            num_keypoints=17,
            num_convs=8,
            in_channels=256,
            conv_out_channels=512)))

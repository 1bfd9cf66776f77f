# The thin model of maskr_mini_fpn.py with a keypoint branch as thin: four convolutions of width 64.
_base_ = 'maskr_mini_fpn.py'

model = dict(
    roi_head=dict(
        keypoint_roi_extractor=dict(
            type='LevelRoIExtractor',
            roi_layer=dict(type='RoIAlign', output_size=14, sampling_ratio=0),
            out_channels=64,
            featmap_strides=[4, 8, 16, 32]),
        keypoint_head=dict(
            type='HeatmapKeypointHead',
            num_keypoints=17,
            num_convs=4,
            in_channels=64,
            conv_out_channels=64)))

# Table 2c in miniature, row "RoIWarp ave": rounding alone does the harm, with either pooling.
_base_ = '../../mini/ablation_c4.py'

roi_layer = dict(_delete_=True, type='RoIWarp', sampling_ratio=0, pool_mode='avg')
model = dict(
    roi_head=dict(
        bbox_roi_extractor=dict(roi_layer=dict(output_size=7, **roi_layer)),
        mask_roi_extractor=dict(roi_layer=dict(output_size=14, **roi_layer))))

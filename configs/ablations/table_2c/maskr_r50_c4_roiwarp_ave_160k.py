# Table 2c, row "RoIWarp ave" (27.1 AP): rounding alone does the harm, with either pooling.
_base_ = '../../maskr_r50_c4_160k.py'

roi_layer = dict(_delete_=True, type='RoIWarp', sampling_ratio=0, pool_mode='avg', output_size=7)
model = dict(roi_head=dict(bbox_roi_extractor=dict(roi_layer=roi_layer)))

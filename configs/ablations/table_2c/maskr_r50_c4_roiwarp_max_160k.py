# Table 2c, row "RoIWarp max" (27.2 AP): bilinear as RoIAlign, but of a RoI that is rounded first.
_base_ = '../../maskr_r50_c4_160k.py'

roi_layer = dict(_delete_=True, type='RoIWarp', sampling_ratio=0, pool_mode='max', output_size=7)
model = dict(roi_head=dict(bbox_roi_extractor=dict(roi_layer=roi_layer)))

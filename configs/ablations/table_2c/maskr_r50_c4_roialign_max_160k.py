# Table 2c, row "RoIAlign max" (30.2 AP): aligned, with the maximum of a bin's samples in place of
# their mean.
_base_ = '../../maskr_r50_c4_160k.py'

roi_layer = dict(_delete_=True, type='RoIAlign', sampling_ratio=0, pool_mode='max', output_size=7)
model = dict(roi_head=dict(bbox_roi_extractor=dict(roi_layer=roi_layer)))

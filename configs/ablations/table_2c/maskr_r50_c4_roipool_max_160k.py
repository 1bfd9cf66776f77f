# Table 2c, row "RoIPool max" (26.9 AP): RoI and bins are rounded to whole cells, here of 16 pixels.
_base_ = '../../maskr_r50_c4_160k.py'

roi_layer = dict(_delete_=True, type='RoIPool', output_size=7)
model = dict(roi_head=dict(bbox_roi_extractor=dict(roi_layer=roi_layer)))

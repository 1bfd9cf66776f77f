# In addition to Table 2e: masks of 14x14 from 7x7 RoI features; the default is 28.
_base_ = '../../maskr_r50_fpn_160k.py'

model = dict(
    roi_head=dict(mask_roi_extractor=dict(roi_layer=dict(output_size=7))),
    train_cfg=dict(rcnn=dict(mask_size=14)))

# In addition to Table 2e in miniature: masks of 14x14 from 7x7 RoI features; the default is 28.
_base_ = '../../mini/ablation_fpn.py'

model = dict(
    roi_head=dict(mask_roi_extractor=dict(roi_layer=dict(output_size=7))),
    train_cfg=dict(rcnn=dict(mask_size=14)))

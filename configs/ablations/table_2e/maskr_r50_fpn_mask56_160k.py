# In addition to Table 2e: masks of 56x56 from 28x28 RoI features, at four times the cost; the
# default is 28.
_base_ = '../../maskr_r50_fpn_160k.py'

model = dict(
    roi_head=dict(mask_roi_extractor=dict(roi_layer=dict(output_size=28))),
    train_cfg=dict(rcnn=dict(mask_size=56)))

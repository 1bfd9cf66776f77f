# In addition to Table 2e: the FCN with two convolutions instead of four.
_base_ = '../../maskr_r50_fpn_160k.py'

model = dict(roi_head=dict(mask_head=dict(num_convs=2)))

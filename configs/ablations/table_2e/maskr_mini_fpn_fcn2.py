# In addition to Table 2e in miniature: the FCN with two convolutions instead of four.
_base_ = '../../mini/ablation_fpn.py'

model = dict(roi_head=dict(mask_head=dict(num_convs=2)))

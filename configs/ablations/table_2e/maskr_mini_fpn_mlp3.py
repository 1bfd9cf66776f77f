# Table 2e in miniature, row "MLP 1024-1024-1024-80*28*28", a quarter as wide.
_base_ = 'maskr_mini_fpn_mlp2.py'

model = dict(roi_head=dict(mask_head=dict(num_fcs=3)))

# Table 2e, row "MLP 1024-1024-1024-80*28*28" (31.5 AP): a deeper MLP does not make up for it.
_base_ = 'maskr_r50_fpn_mlp2_160k.py'

model = dict(roi_head=dict(mask_head=dict(num_fcs=3)))

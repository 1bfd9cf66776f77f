# Table 2e, row "MLP 1024-1024-80*28*28" (31.5 AP): fully connected layers lose the layout of the
# RoI, which convolutions keep. No convolutions, so num_convs is 0.
_base_ = '../../maskr_r50_fpn_160k.py'

model = dict(roi_head=dict(mask_head=dict(tower='mlp', num_convs=0, num_fcs=2)))

# Table 2e in miniature, row "MLP 1024-1024-80*28*28", a quarter as wide, as the box branch is.
_base_ = '../../mini/ablation_fpn.py'

model = dict(
    roi_head=dict(mask_head=dict(tower='mlp', num_convs=0, num_fcs=2, fc_out_channels=256)))

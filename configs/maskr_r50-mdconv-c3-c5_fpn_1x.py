# Modulated deformable convolutions (Zhu et al. 2019): each sample has a learned weight too.
_base_ = 'maskr_r50-dconv-c3-c5_fpn_1x.py'

model = dict(backbone=dict(dcn=dict(type='DCNv2')))

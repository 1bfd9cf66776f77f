# Deformable convolutions (Dai et al. 2017) for the 3x3 ones of conv3 to conv5.
_base_ = 'maskr_r50_fpn_1x.py'

model = dict(
    backbone=dict(
        dcn=dict(type='DCN', deform_groups=1, fallback_on_stride=False),
        stage_with_dcn=(False, True, True, True)))

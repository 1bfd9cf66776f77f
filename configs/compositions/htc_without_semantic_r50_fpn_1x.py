# Hybrid Task Cascade (Chen et al. 2019) without its semantic branch: masks follow the refined box
# of their stage, and each mask head sees the features of the one before.
_base_ = 'cascade_maskr_r50_fpn_1x.py'

model = dict(
    type='HybridTaskCascade',
    roi_head=dict(
        type='HybridTaskCascadeRoIHead',
        interleaved=True,
        mask_info_flow=True,
        mask_head=[
            dict(_base_.model.roi_head.mask_head, type='InterleavedMaskHead', with_conv_res=linked)
            for linked in (False, True, True)
        ]),
    # low scores count, as in HTC's own recipe
    test_cfg=dict(rcnn=dict(score_thr=0.001)))

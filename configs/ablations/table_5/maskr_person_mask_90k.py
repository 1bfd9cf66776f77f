# Table 5, row "mask-only" (53.6 box AP, 45.8 mask AP): boxes and masks of persons.
_base_ = '../../maskr_keypoint_mask_r50_fpn_90k.py'

model = dict(roi_head=dict(keypoint_roi_extractor=None, keypoint_head=None))

val_evaluator = dict(metric=['bbox', 'segm'])
test_evaluator = val_evaluator

# Table 5 in miniature, row "mask-only": boxes and masks of figures.
_base_ = '../../mini/ablation_keypoint_mask.py'

model = dict(roi_head=dict(keypoint_roi_extractor=None, keypoint_head=None))

val_evaluator = dict(metric=['bbox', 'segm'])
test_evaluator = val_evaluator

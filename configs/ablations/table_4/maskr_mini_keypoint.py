# Table 4 in miniature, row "keypoint-only": boxes and keypoints of figures.
_base_ = '../../mini/ablation_keypoint_mask.py'

model = dict(roi_head=dict(mask_roi_extractor=None, mask_head=None))

val_evaluator = dict(metric=['bbox', 'keypoints'])
test_evaluator = val_evaluator

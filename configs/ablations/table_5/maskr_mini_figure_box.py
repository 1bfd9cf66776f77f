# Table 5 in miniature, row "Faster R-CNN": the box branch alone, on figures.
_base_ = '../table_4/maskr_mini_keypoint.py'

model = dict(roi_head=dict(keypoint_roi_extractor=None, keypoint_head=None))

val_evaluator = dict(metric=['bbox'])
test_evaluator = val_evaluator

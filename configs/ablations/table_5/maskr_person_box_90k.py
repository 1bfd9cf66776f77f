# Table 5, row "Faster R-CNN" (52.5 box AP): the box branch alone, on persons.
_base_ = '../../maskr_keypoint_r50_fpn_90k.py'

model = dict(roi_head=dict(keypoint_roi_extractor=None, keypoint_head=None))

val_evaluator = dict(metric=['bbox'])
test_evaluator = val_evaluator

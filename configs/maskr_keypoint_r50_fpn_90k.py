# Boxes and keypoints of persons, without masks, ResNet-50-FPN: the paper's schedule for keypoints,
# Detectron2's losses.
_base_ = 'maskr_keypoint_mask_r50_fpn_90k.py'

model = dict(roi_head=dict(mask_roi_extractor=None, mask_head=None))

val_evaluator = dict(metric=['bbox', 'keypoints'])
test_evaluator = val_evaluator

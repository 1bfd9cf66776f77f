# Table 3 in miniature, row "Faster R-CNN, RoIAlign, ResNet-101-FPN": no mask branch.
_base_ = '../table_2a/maskr_mini_r34_fpn.py'

model = dict(
    type='FasterRCNN',
    data_preprocessor=dict(pad_mask=False),
    roi_head=dict(mask_roi_extractor=None, mask_head=None))

val_evaluator = dict(metric=['bbox'])
test_evaluator = val_evaluator

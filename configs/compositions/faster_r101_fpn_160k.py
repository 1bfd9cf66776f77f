# Table 3, row "Faster R-CNN, RoIAlign, ResNet-101-FPN" (37.3 box AP): the paper's recipe.
_base_ = '../maskr_r101_fpn_160k.py'

model = dict(
    type='FasterRCNN',
    data_preprocessor=dict(pad_mask=False),
    roi_head=dict(mask_roi_extractor=None, mask_head=None))
val_evaluator = dict(metric='bbox')
test_evaluator = val_evaluator

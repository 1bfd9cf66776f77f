# Proposals alone, scored by COCO: average recall of 100, 300 and 1000 proposals of any class.
_base_ = '../maskr_r50_fpn_1x.py'

model = dict(
    _delete_=True,
    type='RPN',
    data_preprocessor=_base_.model.data_preprocessor,
    backbone=_base_.model.backbone,
    neck=_base_.model.neck,
    rpn_head=_base_.model.rpn_head,
    train_cfg=dict(rpn=_base_.model.train_cfg.rpn),
    test_cfg=dict(rpn=_base_.model.test_cfg.rpn))
val_evaluator = dict(metric='proposal')
test_evaluator = val_evaluator
# there are no classes to count
custom_hooks = [h for h in _base_.custom_hooks if h['type'] != 'DatasetFitHook']

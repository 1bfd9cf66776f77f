# Table 7, row "fine + COCO": from a COCO checkpoint, whose weights of the seven shared classes are
# kept; rider starts anew. 4k iterations are enough then, with a drop at 3k (appendix A).
_base_ = 'maskr_r50_fpn_24k.py'

train_cfg = dict(max_iters=4000, val_interval=1000)
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(end=4000, milestones=[3000])
default_hooks = dict(checkpoint=dict(interval=1000))
custom_hooks = [*_base_.custom_hooks, dict(type='ClassTransferHook')]
# a checkpoint of maskr_r50_fpn_1x.py will do, or mmdet's own, which this is
load_from = ('https://download.openmmlab.com/mmdetection/v2.0/mask_rcnn/mask_rcnn_r50_fpn_1x_coco/'
             'mask_rcnn_r50_fpn_1x_coco_20200205-d4b0c5d6.pth')

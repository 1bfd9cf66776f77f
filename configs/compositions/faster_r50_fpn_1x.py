# Faster R-CNN with our RoI layer, heads and RPN.
_base_ = [
    '../_base_/models/faster_r50_fpn.py', '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/schedule_1x.py', '../_base_/default_runtime.py'
]

# boxes are all that is scored; masks are loaded for mmdet's pictures of the ground truth alone
val_evaluator = dict(metric='bbox')
test_evaluator = val_evaluator

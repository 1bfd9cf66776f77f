# MMEngine's newer style: bases are imported, so an editor follows them, and types are the classes
# themselves. One mask for all classes on ResNet-50-FPN, as an example.
from mmengine.config import read_base

from mmdet_maskr.models import ComposedMaskHead, LevelRoIExtractor, ParallelRoIHead

with read_base():
    from .._base_.datasets.coco_instance import *
    from .._base_.default_runtime import *
    from .._base_.models.maskr_r50_fpn import *
    from .._base_.schedules.schedule_1x import *

model.update(
    roi_head=dict(
        type=ParallelRoIHead,
        bbox_roi_extractor=dict(type=LevelRoIExtractor),
        mask_roi_extractor=dict(type=LevelRoIExtractor),
        mask_head=dict(type=ComposedMaskHead, class_agnostic=True)))

"""RoI extractors: which pyramid level, which RoI layer."""

from mmdet_maskr import old_names
from mmdet_maskr.models.roi_extractors.level_roi_extractor import LevelRoIExtractor
from mmdet_maskr.models.roi_extractors.levels import assign_levels

__all__ = ["LevelRoIExtractor", "assign_levels"]

__getattr__ = old_names.getter(__name__)

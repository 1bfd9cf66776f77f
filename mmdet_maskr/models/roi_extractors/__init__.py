"""RoI extractors: which pyramid level, which RoI layer."""

from mmdet_maskr.models.roi_extractors.fpn_roi_extractor import FPNRoIExtractor
from mmdet_maskr.models.roi_extractors.levels import LEVEL_RULES, assign_levels

__all__ = ["LEVEL_RULES", "FPNRoIExtractor", "assign_levels"]

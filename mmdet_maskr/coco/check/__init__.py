"""Find problems in a COCO dataset before you train on it."""

from mmdet_maskr.coco.check.dataset import check_content, cleaned
from mmdet_maskr.coco.check.images import check_files
from mmdet_maskr.coco.check.problems import CATALOGUE, Problem, Report

__all__ = [
    "CATALOGUE",
    "Problem",
    "Report",
    "check_content",
    "check_files",
    "cleaned",
]

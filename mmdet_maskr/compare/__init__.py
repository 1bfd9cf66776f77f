"""Models side by side on the same images: one HTML page, or a live form."""

from mmdet_maskr.compare.comparison import Comparison
from mmdet_maskr.compare.models import load_models, read_sources
from mmdet_maskr.compare.page import render

__all__ = ["Comparison", "load_models", "read_sources", "render"]

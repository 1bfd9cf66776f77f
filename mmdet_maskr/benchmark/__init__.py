"""Comparisons of speed and memory with stock mmdet and mmcv, for ``maskr benchmark``."""

"""Comparisons of speed and memory with stock mmdet and mmcv, for ``tools/benchmark.py``."""

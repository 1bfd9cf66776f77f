"""Measurements for ``maskr benchmark``.

Most compare speed and memory with stock mmdet and mmcv; :mod:`.seams` counts what tiles return.
"""

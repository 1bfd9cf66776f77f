"""References of the ops in Python: MMCV's compiled extension, where it is, and direct loops."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest

from mmdet_maskr import mmcv_extension


def compiled() -> ModuleType:
    """MMCV's compiled extension; the test is skipped where there is none."""
    if not mmcv_extension.is_compiled():
        pytest.skip("needs MMCV's compiled extension")
    return importlib.import_module(mmcv_extension.NAME)

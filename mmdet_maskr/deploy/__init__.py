"""Models in the form in which they are used: faster, or without PyTorch.

Names are imported when they are used: :func:`load` runs where mmdet, mmcv and torch are not
installed, :func:`optimize` needs them.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_MODULES = {"load": "runtime", "optimize": "optimization"}

__all__ = ["load", "optimize"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)

"""Deployment: a faster form in PyTorch, exported files and their runtime.

Names are imported on first use: :func:`load` works without OpenMMLab's packages and PyTorch;
:func:`optimize` needs them.
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

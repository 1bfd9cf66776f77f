"""Models outside of training: a faster form in PyTorch, exported files, and their runtime.

Importing this package imports nothing else, so that ``load`` works where neither OpenMMLab's
packages nor PyTorch are installed.
"""

import importlib

_EXPORTS = {"load": "runtime", "optimize": "optimization"}

__all__ = ["load", "optimize"]


def __getattr__(name: str) -> object:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)

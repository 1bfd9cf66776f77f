"""Former names of parts: they still work in configs and imports, with a warning."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Callable
from typing import Any

NEW_NAMES = dict(
    MaskRRPNHead="SampledRPNHead",
    FPNRoIExtractor="LevelRoIExtractor",
    ClassCountCheckHook="DatasetFitHook",
)


def _warn(old: str) -> None:
    # no DeprecationWarning, which Python hides from those who run a config
    warnings.warn(
        f"{old} is now called {NEW_NAMES[old]}: please use the new name.",
        FutureWarning,
        stacklevel=3,
    )


def getter(module: str) -> Callable[[str], type]:
    """``__getattr__`` of a module whose parts can be imported by their former names too."""

    def __getattr__(name: str) -> type:
        part = vars(sys.modules[module]).get(NEW_NAMES.get(name, ""))
        if part is None:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        _warn(name)
        return part

    return __getattr__


def _alias(old: str, part: type) -> type:
    """What a registry has under a former name: it builds the part itself."""

    def __new__(cls, *args, **kwargs):
        _warn(old)
        return part(*args, **kwargs) if cls is alias else object.__new__(cls)

    members = dict(
        __new__=__new__,
        __doc__=f"{part.__name__}'s former name.",
        __module__=part.__module__,
        __signature__=inspect.signature(part),
    )
    alias = type(old, (part,), members)
    return alias


def register(registry: Any) -> None:
    """Give a registry of mmdet the parts that it has under their former names too."""
    for old, new in NEW_NAMES.items():
        if new in registry.module_dict:
            registry.register_module(module=_alias(old, registry.module_dict[new]))

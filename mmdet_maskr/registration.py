"""Which of mmdet's registries has parts in which of this package's folders.

A registry imports its locations when it is first asked for a part. Adding a folder of ours to them
registers our parts just then, beside mmdet's.
"""

from __future__ import annotations

import functools
import importlib
import sys
import warnings
from typing import Any

PARTS = {
    "models": ("MODELS", "TASK_UTILS"),
    "datasets": ("DATASETS", "TRANSFORMS"),
    "engine": ("HOOKS", "LOOPS", "OPTIM_WRAPPERS", "RUNNERS"),
    "evaluation": ("METRICS",),
    "visualization": ("VISUALIZERS",),
}


def adjust() -> None:
    """Apply :mod:`.adjustments` now, if what they change is imported already; else with a part.

    MMDetection's inferencer reads a checkpoint before it asks a registry for the model.
    """
    if "mmengine.runner.checkpoint" in sys.modules:
        importlib.import_module("mmdet_maskr.adjustments")


def announce() -> None:
    """Add this package's folders to the locations of mmdet's registries.

    A registry that has imported its locations already gets our parts at once.
    """
    registries = importlib.import_module("mmdet.registry")
    for folder, names in PARTS.items():
        location = f"mmdet_maskr.{folder}"
        for name in names:
            registry = getattr(registries, name)
            if location not in registry._locations:
                registry._locations = [*registry._locations, location]
                if registry._imported:
                    importlib.import_module(location)


def keep_old_name(registry: Any, name: str, part: type) -> type:
    """Register a class under the name that it had before as well; building it by that one warns.

    Args:
        registry: of mmdet, that has the class.
        name: the old one.
        part: the class.

    Returns:
        A subclass of that name, to be put where the old one could be imported from.
    """

    @functools.wraps(part.__init__)  # type: ignore[misc]
    def init(self: Any, *args: Any, **options: Any) -> None:
        warnings.warn(f"{name} is called {part.__name__} now.", FutureWarning, stacklevel=2)
        super(old, self).__init__(*args, **options)

    members = dict(__init__=init, __module__=part.__module__, __doc__=part.__doc__)
    old: Any = type(part)(name, (part,), members)
    return registry.register_module(module=old)

"""Which of mmdet's registries has parts in which of this package's folders.

A registry imports its locations when it is first asked for a part. Adding a folder of ours to them
registers our parts just then, beside mmdet's.
"""

from __future__ import annotations

import importlib
import sys

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

"""Which of mmdet's registries has parts in which of this package's folders.

A registry imports its locations when it is first asked for a part. :mod:`.adjustments` adds ours to
them, so that our parts are registered just then, together with mmdet's.
"""

from __future__ import annotations

PARTS = {
    "models": ("MODELS", "TASK_UTILS", "WEIGHT_INITIALIZERS"),
    "datasets": ("DATASETS", "TRANSFORMS"),
    "engine": ("HOOKS", "LOOPS", "OPTIM_WRAPPERS", "OPTIM_WRAPPER_CONSTRUCTORS", "RUNNERS"),
    "evaluation": ("METRICS",),
    "visualization": ("VISUALIZERS",),
}

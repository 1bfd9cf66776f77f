"""Which of mmdet's registries has parts in which of this package's folders.

A registry imports its locations when it is first asked for a part. :mod:`.adjustments` adds ours to
them, so that our parts are registered just then, together with mmdet's.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any

PARTS = {
    "models": ("MODELS", "TASK_UTILS"),
    "datasets": ("DATASETS", "TRANSFORMS"),
    "engine": ("HOOKS", "LOOPS", "OPTIM_WRAPPERS", "RUNNERS"),
    "evaluation": ("METRICS",),
    "visualization": ("VISUALIZERS",),
}


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

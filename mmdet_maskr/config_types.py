"""Resolves ``type`` in a config, in any notation.

'PackDetInputs', 'mmdet.PackDetInputs', a dotted path, or the class itself, as configs with
``read_base()`` have it: registries know, and comparing texts does not.
"""

from __future__ import annotations

import inspect
from typing import Any

from mmengine.registry import Registry


def class_of(kind: Any, registry: Registry) -> Any:
    """The class or function that a config's ``type`` names; None where nothing is registered so.

    Args:
        kind: a text, a class or a function.
        registry: where texts are looked up.
    """
    if not isinstance(kind, str):
        return kind
    try:
        return registry.get(kind)
    except (ImportError, KeyError, AttributeError, TypeError, ValueError):  # of a dotted path
        return None


def is_a(kind: Any, base: type, registry: Registry) -> bool:
    """Whether a config's ``type`` is ``base`` or a subclass of it."""
    found = class_of(kind, registry)
    return inspect.isclass(found) and issubclass(found, base)


def name_of(kind: Any, registry: Registry) -> str:
    """The name under which a registry has this very part, or else what the part is called."""
    found = class_of(kind, registry)
    name = getattr(found, "__name__", None)
    if name is None:
        return str(kind)
    if registry.get(name) is found:
        return name
    return f"{found.__module__}.{name}"

"""Evaluation packages that ask numpy for names that it has removed."""

from __future__ import annotations

import types
from typing import Any

import numpy as np


def provide(module: Any, **names: object) -> None:
    """Give one module a numpy with the names that it misses; numpy itself stays as it is.

    Args:
        module: a module that has numpy as ``np``.
        names: what to add where it is not there.
    """
    missing = {name: value for name, value in names.items() if not hasattr(module.np, name)}
    if missing:
        module.np = types.SimpleNamespace(**vars(np), **missing)

"""Configs of mmengine's newer style, written as files: types are classes, bases are read_base()."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmdet.registry import (
    DATA_SAMPLERS,
    DATASETS,
    HOOKS,
    LOG_PROCESSORS,
    LOOPS,
    METRICS,
    MODELS,
    OPTIM_WRAPPERS,
    PARAM_SCHEDULERS,
    TASK_UTILS,
    TRANSFORMS,
    VISBACKENDS,
    VISUALIZERS,
)
from mmengine.config import Config
from mmengine.registry import OPTIMIZERS

REGISTRIES = (
    MODELS, DATASETS, TRANSFORMS, METRICS, HOOKS, OPTIM_WRAPPERS, OPTIMIZERS, LOOPS, DATA_SAMPLERS,
    TASK_UTILS, PARAM_SCHEDULERS, VISUALIZERS, VISBACKENDS, LOG_PROCESSORS,
)  # fmt: skip


def write_new_style(cfg: Config, folder: Path) -> Path:
    """Write a config as two files, of which the second has the data and reads the first.

    Returns:
        The path of the second.
    """
    values = cfg.to_dict()
    data = {key: values.pop(key) for key in list(values) if key.endswith("_dataloader")}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "base.py").write_text(_text(values))
    path = folder / "main.py"
    head = "from mmengine.config import read_base\n\nwith read_base():\n    from .base import *\n\n"
    path.write_text(head + _text(data))
    return path


def _text(values: Mapping[str, Any]) -> str:
    imports: dict[str, str] = {}
    lines = [f"{key} = {_render(value, imports)}" for key, value in values.items()]
    return "\n".join([*imports.values(), "", *lines, ""])


def _render(value: Any, imports: dict[str, str]) -> str:
    if isinstance(value, Mapping):
        items = []
        for key, item in value.items():
            kind = _class_of(item) if key == "type" and isinstance(item, str) else item
            items.append(f"{key!r}: {_render(kind, imports)}")
        return "{" + ", ".join(items) + "}"
    if isinstance(value, (list, tuple)):
        inner = "".join(f"{_render(item, imports)}, " for item in value)
        return f"[{inner}]" if isinstance(value, list) else f"({inner})"
    if isinstance(value, type):
        name = f"{value.__name__}_{len(value.__module__)}"
        imports[name] = f"from {value.__module__} import {value.__name__} as {name}"
        return name
    return repr(value)


def _class_of(name: str) -> Any:
    """The class of this name; names of layers (norm_cfg) stay, as in mmdet's own new configs."""
    for registry in REGISTRIES:
        kind = registry.get(name)
        if isinstance(kind, type) and not kind.__module__.startswith("torch.nn"):
            module = importlib.import_module(kind.__module__)
            return kind if getattr(module, kind.__name__, None) is kind else name
    return name

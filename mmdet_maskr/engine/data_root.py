"""Replaces the data folder in a whole config (``--data-root``)."""

from __future__ import annotations

import os
from collections.abc import Sequence

from mmengine.config import Config

from mmdet_maskr.errors import UserError

# Keys of paths that begin with an empty data_root, in each part of a config.
_PATHS = {
    "dataloader": ("data_root",),
    "evaluator": ("ann_file", "keypoint_ann_file", "seg_prefix"),
}


def replace_data_root(cfg: Config, old: str, new: str) -> None:
    """Replace the folder ``old`` by ``new`` in data loaders and evaluators, in place.

    ``data_root`` and paths that begin with it (``ann_file=data_root + '...'``) are values of their
    own after a config is parsed, so setting ``data_root`` alone would change nothing. Any text
    begins with an empty ``old`` (or is below '.'): of these only relative paths of datasets'
    ``data_root`` and evaluators' files are replaced.

    Raises:
        UserError: there is none, so that nothing would be read from ``new``.
    """
    anywhere = os.path.normpath(old) != "."
    found = []

    def replaced(value: object, key: str, keys: Sequence[str]) -> object:
        if isinstance(value, dict):
            if not anywhere and "data_root" in keys and "ann_file" in value:
                value.setdefault("data_root", "")
            for own in value:
                value[own] = replaced(value[own], own, keys)
        elif isinstance(value, (list, tuple)):
            return type(value)(replaced(item, key, keys) for item in value)
        elif isinstance(value, str) and (anywhere or key in keys):
            moved = _moved(value, old, new)
            if moved is not None:
                found.append(moved)
                return moved
        return value

    for split in ("train", "val", "test"):
        for part, keys in _PATHS.items():
            section = cfg.get(f"{split}_{part}")
            if section is not None:
                cfg[f"{split}_{part}"] = replaced(section, "", keys)
    if not found:
        raise UserError(
            f"no path of the data loaders and evaluators is in data_root={old!r}, so "
            "--data-root would have no effect. Write data_root=data_root and "
            "ann_file=data_root + '...' in the config."
        )


def _moved(path: str, old: str, new: str) -> str | None:
    """``path`` below the folder ``new`` where it is below ``old``, however it is written."""
    root, plain = os.path.normpath(old), os.path.normpath(path)
    prefix = os.path.join(old, "")
    if root == ".":
        if os.path.isabs(path) or "://" in path:
            return None
        tail = "" if plain == "." else path.removeprefix("./")
    elif os.path.join(path, "").startswith(prefix):
        tail = path[len(prefix) :]
    elif os.path.join(plain, "").startswith(os.path.join(root, "")):
        tail = plain[len(root) + 1 :] + "/" * (plain != root and path.endswith("/"))
    else:
        return None
    return os.path.join(new, "") + tail

"""Checkpoints as ``.safetensors``: tensors and text, nothing that can be executed.

What mmengine keeps in a checkpoint's ``meta`` (classes, keypoints, colors) goes into the file's
own metadata as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmdet_maskr.atomic_files import give_name, partial_of
from mmdet_maskr.errors import UserError

SUFFIX = ".safetensors"
META = "mmdet_maskr"  # the key of the metadata that holds ``meta``


def read(path: str | Path, map_location: Any = None) -> dict[str, Any]:
    """A checkpoint: ``state_dict``, and ``meta`` where this package wrote the file.

    Args:
        path: of the file.
        map_location: the device, as in :func:`torch.load`; other forms than a device are refused.

    Raises:
        UserError: the file is damaged, cut, or of another kind.
        OSError: it cannot be read.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if map_location is not None and not isinstance(map_location, (str, int, torch.device)):
        raise UserError(f"{path}: map_location of a {SUFFIX} file must be a device.")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}
            text = (file.metadata() or {}).get(META)
    except SafetensorError as error:
        raise UserError(
            f"checkpoint {path} cannot be read: it is damaged, truncated, or not a "
            f"{SUFFIX} file ({str(error).splitlines()[0][:200]})."
        ) from error
    if map_location is not None:
        state = {name: value.to(map_location) for name, value in state.items()}
    return dict(state_dict=state, meta=_meta_of(text, path))


def _meta_of(text: str | None, path: Path) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        meta = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"checkpoint {path}: its metadata is not JSON ({error}).") from error
    if not isinstance(meta, dict):
        raise UserError(f"checkpoint {path}: its metadata is a {type(meta).__name__}.")
    return meta


def write(path: str | Path, state: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
    """Write weights and what is known about them; the file is whole, or not there.

    Args:
        path: of the file.
        state: tensors by name.
        meta: texts, numbers, lists and dictionaries.

    Raises:
        UserError: a value that is no dense tensor.
        OSError: as from writing.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path = Path(path)
    tensors, seen = {}, set()
    for name, value in state.items():
        if not isinstance(value, torch.Tensor) or value.layout != torch.strided:
            raise UserError(f"{name} is a {type(value).__name__} that {SUFFIX} cannot store.")
        value = value.detach().cpu().contiguous()
        place = value.untyped_storage().data_ptr()
        tensors[name] = value.clone() if place in seen else value  # shared ones are refused
        seen.add(place)
    partial = partial_of(path)
    try:
        save_file(tensors, partial, metadata={"format": "pt", META: json.dumps(dict(meta))})
        give_name(partial, path)
    except SafetensorError as error:  # it tells a full disk so, too
        raise OSError(str(error)) from error
    finally:
        partial.unlink(missing_ok=True)

"""Checkpoints read as data: no code in a torch file is executed.

mmengine 0.10 stores its message hub in checkpoints: HistoryBuffer objects, numpy arrays and numpy
scalars (mmengine #1655). torch >= 2.6 refuses these unless they are on its list of allowed classes.
The way out that is mostly recommended, ``weights_only=False``, would execute any code that a
checkpoint contains. Here they are on the list while one file is read, and what a file asks for of
numpy gets stand-ins that only make plain arrays.
"""

from __future__ import annotations

import errno
import functools
import importlib
import pickle
import re
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmdet_maskr import safe_arrays, safetensors_files
from mmdet_maskr.checksums import CHECKSUM_SUFFIX, find_bad_bytes, first_line
from mmdet_maskr.downloads import fetch_weights
from mmdet_maskr.errors import UnsafeCheckpointError, UserError
from mmdet_maskr.safe_pickle import encode, make_bytearray

# How torch (and _history_buffer_method) say that a file wants more than weights_only=True gives.
_REFUSALS = r"GLOBAL \S+|Trying to \w+ .*|Can only \w+ .*|the file asks for .*"
_OTHER_DEVICE = "deserialize object on"  # of torch's message: this machine has it not
_LOCK = threading.RLock()
MOST = 200 << 20  # bytes that a file may take beyond ten times its own


def load(path: str | Path, map_location: Any = None, mmap: bool = False) -> Any:
    """``torch.load`` with ``weights_only=True`` of what mmengine writes.

    Args:
        path: of the file.
        map_location: as in :func:`torch.load`.
        mmap: leave the weights on the disk until they are wanted.

    Raises:
        Exception: of any type, as torch's.
    """
    import torch

    with _allowed():
        content = torch.load(path, map_location=map_location, weights_only=True, mmap=mmap)
    _fill_histories(content)
    return content


def read_checkpoint(filename: str, map_location: Any = None) -> dict:
    """A local checkpoint that is whole, and holds nothing but data.

    Args:
        filename: path of the file.
        map_location: as in :func:`torch.load`.

    Raises:
        FileNotFoundError: no such file.
        UserError: the file is damaged, cut, or no checkpoint; it differs from ``FILE.sha256``
            next to it or its own CRCs; it would grow when it is read.
        UnsafeCheckpointError: the file holds objects other than tensors, plain containers and
            what mmengine writes.
    """
    path = Path(filename).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {filename} can not be found.")
    damage = find_bad_bytes(path)
    if damage is not None:
        raise UserError(
            f"checkpoint {filename} is refused: {damage}. Use another one. (If you have "
            "changed the file yourself, remove its checksum "
            f"{path.name}{CHECKSUM_SUFFIX})."
        )
    if path.suffix == safetensors_files.SUFFIX:
        return safetensors_files.read(path, map_location)
    check_archive(path)
    try:
        return load(path, map_location)
    except MemoryError:
        raise
    except Exception as error:  # damaged files end in errors of many types
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise  # EINVAL: torch seeks to where the rest of a cut file would be
        reason = first_line(error)
        if _OTHER_DEVICE in reason:
            raise
        refused = refusal(error)
        if refused is None:
            raise UserError(
                f"checkpoint {filename} cannot be read: it is damaged, truncated, or not a "
                f"torch checkpoint ({reason})."
            ) from error
        raise UnsafeCheckpointError(
            f"checkpoint {filename} was refused: {refused}. If you trust its author, convert "
            "it once: load it with torch.load(..., weights_only=False) in a separate process "
            "and save only its 'state_dict'."
        ) from error


def refusal(error: Exception) -> str | None:
    """Why a checkpoint is not loaded, if :func:`load` ended so for what could run code."""
    refused = re.search(_REFUSALS, str(error))
    if refused is None:
        return None
    return (
        f"it holds more than weights, and loading it could run code ({refused.group().rstrip('.')})"
    )


def check_archive(path: Path) -> None:
    """Check that a checkpoint is not packed so that it takes all memory; torch writes them plain.

    Raises:
        UserError: it would take more than ten times its size.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except Exception:  # damaged archives end in errors of many types, which the loader explains
        return
    if size > 10 * path.stat().st_size + MOST:
        raise UserError(
            f"checkpoint {path} was refused: its {path.stat().st_size} bytes are "
            f"compressed and would take {size} in memory. torch.save does not compress "
            "checkpoints."
        )


def load_url(
    url: str,
    model_dir: str | None = None,
    map_location: Any = None,
    progress: bool = True,
    **options: Any,
) -> dict:
    """Download a checkpoint (or take it from the cache) and load it as plain data.

    It stands for torch's, which knows a file in its cache by the last part of the address.

    Raises:
        UserError: it cannot be downloaded, is damaged, or holds more than weights.
    """
    import torch
    from mmengine.logging import print_log

    folder = Path(model_dir or Path(torch.hub.get_dir()) / "checkpoints")
    if progress:
        print_log(f"weights of {url} are saved in {folder}", logger="current")
    path = fetch_weights(url, folder)
    try:
        if path.suffix == safetensors_files.SUFFIX:
            return safetensors_files.read(path, map_location)
        check_archive(path)
        return load(path, map_location)
    except MemoryError:
        raise
    except Exception as error:  # damaged files end in errors of many types
        if _OTHER_DEVICE in first_line(error):
            raise
        path.unlink(missing_ok=True)  # or it would stay
        reason = refusal(error) or f"it is damaged ({first_line(error)})"
        raise UserError(f"checkpoint {url} was refused: {reason}.") from error


# ----------------------------------------------------------------------------------- torch's list
@contextmanager
def _allowed() -> Iterator[None]:
    """Within, torch's list of allowed names has those that checkpoints of mmengine need."""
    import torch

    unpickler: Any = importlib.import_module("torch._weights_only_unpickler")
    own = unpickler._get_allowed_globals()  # one dictionary, kept
    with _LOCK:  # the lists are the process's
        before = {name: own[name] for name in ("builtins.bytearray", "_codecs.encode")}
        own.update({"builtins.bytearray": make_bytearray, "_codecs.encode": encode})
        try:
            with torch.serialization.safe_globals(_names()):
                yield
        finally:
            own.update(before)


@functools.cache
def _names() -> list:
    from mmengine.logging import HistoryBuffer

    names: dict[str, Any] = safe_arrays.numpy_names()
    for core in ("numpy.core", "numpy._core"):
        names[f"{core}.multiarray._reconstruct"] = safe_arrays.empty_loaded_array
    names["builtins.getattr"] = _history_buffer_method
    named = [(value, name) for name, value in names.items()]
    return [HistoryBuffer, safe_arrays.LoadedArray, *named]


def _history_buffer_method(owner: Any, name: str) -> Any:
    """Stands in for ``getattr`` in checkpoints: gives HistoryBuffer's statistics, nothing else.

    mmengine's HistoryBuffer pickles its statistics as ``getattr(HistoryBuffer, 'mean')``. Allowing
    the real ``getattr`` would open every attribute of every allowed object to the file.
    """
    from mmengine.logging import HistoryBuffer

    if owner is HistoryBuffer and name in ("min", "max", "mean", "current"):
        return getattr(HistoryBuffer, name)
    raise pickle.UnpicklingError(f"the file asks for the attribute {name!r} of {owner!r}")


def _fill_histories(content: Any) -> None:
    """Give the histories in what was loaded arrays of numpy's own kind."""
    from mmengine.logging import HistoryBuffer

    left, seen = [content], set()
    while left:
        value = left.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            left += value.values()
        elif isinstance(value, list | tuple):
            left += value
        elif isinstance(value, HistoryBuffer):
            for name, stored in vars(value).items():
                if isinstance(stored, safe_arrays.LoadedArray):
                    vars(value)[name] = safe_arrays.plain(stored)

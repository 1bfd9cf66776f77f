"""Files of others are data: no YAML, pickle, checkpoint or name in them runs code while it is read.

mmengine reads YAML with PyYAML's full loader and .pkl files with pickle, both of which call
whatever the file names; loads checkpoints from URLs with ``weights_only=False``; executes the text
of the config in a checkpoint; and builds ``type: subprocess.call`` from a config of any kind. Its
configs in Python are programs and remain so: read those of strangers before you use them.
"""

from __future__ import annotations

import errno
import importlib
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmdet_maskr import data_files, safe_arrays, safe_configs
from mmdet_maskr.downloads import fetch_weights
from mmdet_maskr.errors import UserError
from mmdet_maskr.safe_pickle import encode, load_pickle, make_bytearray

MOST = 200 << 20  # bytes that a file may take beyond ten times its own


def apply() -> None:
    """Let mmengine and torch read files as data; :mod:`.adjustments` calls this.

    Raises:
        UserError: later, by these readers: files that are damaged or hold more than data.
    """
    from mmengine.fileio import register_handler
    from mmengine.fileio.handlers import JsonHandler, PickleHandler, YamlHandler

    @register_handler(["yaml", "yml"])
    class SafeYamlHandler(YamlHandler):
        def load_from_fileobj(self, file: Any, **kwargs) -> Any:
            return data_files.parse_yaml(file.read())

    @register_handler("json")
    class SafeJsonHandler(JsonHandler):
        def load_from_fileobj(self, file: Any) -> Any:
            return data_files.parse_json(file.read())

    @register_handler(["pickle", "pkl"])
    class SafePickleHandler(PickleHandler):
        def load_from_fileobj(self, file: Any, **kwargs) -> Any:
            return load_pickle(file, **kwargs)

    safe_configs.apply()
    checkpoint: Any = importlib.import_module("mmengine.runner.checkpoint")
    checkpoint.load_url = load_url
    schemes = checkpoint.CheckpointLoader._schemes
    schemes[""] = _of_its_size(schemes[""])


def allow_checkpoints() -> None:
    """Let torch >= 2.6 load what mmengine 0.10 writes (mmengine #1655); called once.

    mmengine stores its message hub in the checkpoint: HistoryBuffer objects, numpy arrays and numpy
    scalars. torch refuses these unless they are on its list of allowed classes. The way out that is
    mostly recommended, ``weights_only=False``, would execute whatever a checkpoint contains. What
    the file asks for of numpy gets stand-ins that only make plain arrays.
    """
    import torch
    from mmengine.logging import HistoryBuffer

    names: dict[str, Any] = safe_arrays.numpy_names()
    for core in ("numpy.core", "numpy._core"):
        names[f"{core}.multiarray._reconstruct"] = safe_arrays.empty_loaded_array
    names["builtins.getattr"] = _history_buffer_method
    torch.serialization.add_safe_globals([HistoryBuffer, safe_arrays.LoadedArray])
    torch.serialization.add_safe_globals([(value, name) for name, value in names.items()])
    unpickler: Any = importlib.import_module("torch._weights_only_unpickler")
    torchs_own = unpickler._get_allowed_globals()  # one dictionary, kept
    torchs_own.update({"builtins.bytearray": make_bytearray, "_codecs.encode": encode})

    set_state = HistoryBuffer.__setstate__

    def fill(history: HistoryBuffer, state: dict) -> None:
        loaded = safe_arrays.LoadedArray
        for name, value in state.items():
            state[name] = safe_arrays.plain(value) if isinstance(value, loaded) else value
        set_state(history, state)

    HistoryBuffer.__setstate__ = fill


def _history_buffer_method(owner: Any, name: str) -> Any:
    """Stands in for ``getattr`` in checkpoints: gives HistoryBuffer's statistics, nothing else.

    mmengine's HistoryBuffer pickles its statistics as ``getattr(HistoryBuffer, 'mean')``. Allowing
    the real ``getattr`` would open every attribute of every allowed object to the file.
    """
    from mmengine.logging import HistoryBuffer

    if owner is HistoryBuffer and name in ("min", "max", "mean", "current"):
        return getattr(HistoryBuffer, name)
    raise pickle.UnpicklingError(f"the file asks for the attribute {name!r} of {owner!r}")


def _of_its_size(load: Callable[..., dict]) -> Callable[..., dict]:
    def load_from_local(filename: str, map_location: Any = None) -> dict:
        """Load a checkpoint file that does not grow when it is read."""
        check_archive(Path(filename).expanduser())
        try:
            return load(filename, map_location=map_location)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise UserError(  # how torch reads where a file has ended before
                f"checkpoint {filename} cannot be read: it is damaged, or cut off."
            ) from error

    return load_from_local


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
            f"checkpoint {path} was refused: its {path.stat().st_size} bytes are packed, and would "
            f"take {size} in memory. torch.save writes checkpoints that are not."
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
        UserError: it cannot be fetched, is damaged, or holds more than weights.
    """
    import torch
    from mmengine.logging import print_log

    folder = Path(model_dir or Path(torch.hub.get_dir()) / "checkpoints")
    if progress:
        print_log(f"weights of {url} are kept in {folder}", logger="current")
    path = fetch_weights(url, folder)
    try:
        check_archive(path)
        return torch.load(path, map_location=map_location, weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # damaged files end in errors of many types
        first = (str(error).splitlines() or [type(error).__name__])[0]
        if "deserialize object on" in first:  # a device that this machine has not
            raise
        path.unlink(missing_ok=True)  # or it would stay
        raise UserError(
            f"checkpoint {url} was refused: it is damaged, or holds more than weights, and "
            f"loading it could run code ({first[:200]})."
        ) from error

"""Prepares a published model: fetch, check, convert, and keep config and weights."""

from __future__ import annotations

import errno
import importlib.util
import json
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.logging import print_log

from mmdet_maskr import safetensors_files
from mmdet_maskr.atomic_files import write_whole
from mmdet_maskr.errors import UserError
from mmdet_maskr.quiet import quiet
from mmdet_maskr.zoo import home, transfer
from mmdet_maskr.zoo.catalogue import PretrainedModel

VERSION = 2  # of what the conversion makes; another one is made anew
CONFIG = "config.py"
WEIGHTS = "model.safetensors"
NOTE = "prepared.json"  # written last


class Local(NamedTuple):
    """A model on this machine.

    Attributes:
        config: path of its config.
        weights: path of its checkpoint.
        title: what it is, in a line.
    """

    config: str
    weights: str
    title: str


def prepare(model: PretrainedModel) -> Local:
    """A model as files; the first time it is fetched and converted, which takes a while.

    Several processes may ask for it at once: one does it, the others wait.

    Raises:
        UserError: it cannot be downloaded, with what to do; it is another file than the published
            one, or its weights do not fit; the disk is full.
    """
    folder = home.model_folder(model.name)
    local = Local(str(folder / CONFIG), str(folder / WEIGHTS), str(model))
    if _is_ready(folder, model):
        return local
    with home.alone(model.name):
        if not _is_ready(folder, model):
            _make(folder, model)
    return local


def _is_ready(folder: Path, model: PretrainedModel) -> bool:
    try:
        note = json.loads((folder / NOTE).read_bytes())
        return note == _note(folder, model)
    except (OSError, ValueError):
        return False


def _note(folder: Path, model: PretrainedModel) -> dict[str, Any]:
    """What is known about the files: another version, address or size makes them anew."""
    sizes = {name: (folder / name).stat().st_size for name in (CONFIG, WEIGHTS)}
    return dict(version=VERSION, url=model.url, checksum=model.checksum, sizes=sizes)


def _make(folder: Path, model: PretrainedModel) -> None:
    print_log(str(model), logger="current")
    source = published_file(model)
    print_log(f"converting {source.name} to {folder}", logger="current")
    try:
        with quiet():
            _convert(model, source, folder)
        write_whole(folder / NOTE, json.dumps(_note(folder, model), indent=1))
    except OSError as error:
        raise UserError(f"{model.name} cannot be saved: {_full(error, folder)}.") from error


def published_file(model: PretrainedModel) -> Path:
    """The file that was published: from the cache, from a mirror on the disk, or fetched.

    Raises:
        UserError: it is not there and cannot be downloaded, or is another file.
    """
    kept = home.download_place(model.name, model.file)
    if kept.is_file():
        wrong = transfer.check_sum(kept, model.checksum)
        if wrong is None:
            return kept
        raise UserError(f"{kept} is not {model.url}: {wrong}. Remove it to download it again.")
    url = home.address(model.url)
    mirrored = transfer.local_file(url)
    if mirrored is not None:
        if not mirrored.is_file():
            raise UserError(
                f"{model.name}: {home.MIRROR} has no file {mirrored}. Put {model.url} there."
            )
        wrong = transfer.check_sum(mirrored, model.checksum)
        if wrong is not None:
            raise UserError(f"{mirrored} is not {model.url}: {wrong}. Put the right file there.")
        return mirrored
    if home.is_offline():
        raise UserError(_advice(model, url, f"{home.OFFLINE} is set", kept))
    try:
        return transfer.fetch(url, kept, model.checksum, model.name)
    except transfer.Unreachable as error:
        raise UserError(_advice(model, url, str(error), kept)) from error
    except OSError as error:
        raise UserError(f"{url} cannot be saved: {_full(error, kept.parent)}.") from error


def _advice(model: PretrainedModel, url: str, reason: str, place: Path) -> str:
    return (
        f"{model.name} is not in the cache, and {url} cannot be downloaded: {reason}. Download "
        f"{model.url} elsewhere and copy it to {place}, or set {home.MIRROR} to a mirror."
    )


def _full(error: OSError, folder: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
        detail = "" if error.strerror in (None, "No space left on device") else error.strerror
        return (
            f"the disk of {folder} is full{f' ({detail})' if detail else ''}: make room, or set "
            f"{home.HOME} to a folder on another one"
        )
    return f"{error.filename or folder} cannot be written ({error.strerror or error})"


# ---------------------------------------------------------------------------------------- convert
def _convert(model: PretrainedModel, source: Path, folder: Path) -> None:
    from mmdet_maskr.weights import output

    conversion = conversion_of(model, source)
    meta = output.meta_of(conversion)
    meta.update(source=f"{model.name} ({model.url})", published=dict(model.ap))
    folder.mkdir(parents=True, exist_ok=True)
    safetensors_files.write(folder / WEIGHTS, conversion.state, meta)
    write_whole(folder / CONFIG, output.whole_text(conversion, WEIGHTS, str(model)))


def conversion_of(model: PretrainedModel, source: Path) -> Any:
    """The published file as a :class:`.output.Conversion`, strictly.

    Raises:
        UserError: it holds something else than it should.
    """
    from mmdet_maskr.weights import convert

    if model.source == "torchvision":
        return convert.from_torchvision(source, norm_eps=model.norm_eps)
    if model.source == "detectron2":
        return convert.from_detectron2(source, model.options, class_names(model.classes))
    return convert.from_mmdet(source, mmdet_config(model), class_names(model.classes))


def class_names(data: str | None) -> tuple[str, ...] | None:
    """Names of the classes of a dataset that the catalogue names, in its own order."""
    if data is None:
        return None
    from mmdet.registry import DATASETS
    from mmengine.registry import init_default_scope

    init_default_scope("mmdet")
    return tuple(DATASETS.get(data).METAINFO["classes"])


def mmdet_config(model: PretrainedModel) -> Path:
    """The config of a model of mmdet, in the installed package.

    Raises:
        UserError: this version of it has none.
    """
    spec = importlib.util.find_spec("mmdet")
    root = Path(str(spec.origin)).parent if spec else Path()
    for folder in (root / ".mim", root.parent):
        path = folder / str(model.source_config)
        if path.is_file():
            return path
    raise UserError(f"{model.name}: the installed mmdet has no {model.source_config}.")

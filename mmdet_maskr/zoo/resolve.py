"""Resolves references to pretrained models: a name, a folder, or ``hf://``."""

from __future__ import annotations

import os
from pathlib import Path

from mmdet_maskr.errors import UserError, no_file
from mmdet_maskr.zoo import catalogue
from mmdet_maskr.zoo.prepare import Local, prepare

HUB = "hf://"
FILES = (".pth", ".pt", ".pkl", ".safetensors")
SCHEMES = (catalogue.SCHEME, HUB)


def is_reference(text: object) -> bool:
    """Whether a text names a pretrained model by ``pretrained://`` or ``hf://``."""
    return isinstance(text, str) and text.startswith(SCHEMES)


def resolve(reference: str | os.PathLike) -> Local:
    """Config and weights of a pretrained model, on this machine.

    Args:
        reference: a name of the catalogue, with or without ``pretrained://``; a folder that
            ``maskr publish`` or ``maskr convert-weights`` wrote; ``hf://org/name[@revision]``.

    Raises:
        UserError: there is no such model, with the nearest names; it cannot be downloaded, or is
            damaged.
    """
    text = os.fspath(reference)
    if text.startswith(HUB):
        from mmdet_maskr.zoo import hub, release

        return release.open_folder(hub.download(text), text)
    if not text.startswith(catalogue.SCHEME) and Path(text).expanduser().is_dir():
        from mmdet_maskr.zoo import release

        return release.open_folder(Path(text).expanduser(), text)
    if not text.startswith(catalogue.SCHEME) and ("/" in text or "\\" in text):
        if catalogue.get(text) is None:
            raise UserError(f"there is no folder {text}, and no pretrained model of this name.")
    return prepare(catalogue.find(text))


def as_weights(value: str) -> str:
    """What ``--weights`` names, as ``load_from`` has it: a file, an address, or a reference.

    Raises:
        UserError: it is neither a file nor a name of the catalogue.
    """
    if "://" in value:
        if value.startswith(catalogue.SCHEME):
            catalogue.find(value)
        return value
    path = Path(value).expanduser()
    if path.is_file():
        return str(path)
    if path.is_dir():
        return resolve(value).weights
    if path.suffix in FILES and catalogue.get(value) is None:
        raise no_file("checkpoint", path)
    return f"{catalogue.SCHEME}{catalogue.find(value).name}"


def load_checkpoint(filename: str, map_location: object = None) -> dict:
    """``load_from = 'pretrained://NAME'`` and ``'hf://org/name'`` of a config.

    Raises:
        UserError: as :func:`resolve`.
    """
    from mmdet_maskr.checkpoint_files import read_checkpoint

    return read_checkpoint(resolve(filename).weights, map_location)

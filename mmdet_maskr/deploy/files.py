"""The folder of an exported model: one file of weights and graph, and ``metadata.json``."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from mmdet_maskr.errors import UserError

METADATA = "metadata.json"
VERSION = 2  # of the metadata; 2 says how files are read
READABLE = (1, 2)
FILES = dict(onnx="model.onnx", torchscript="model.pt", openvino="model.xml")


def read_metadata(folder: Path) -> dict[str, Any]:
    """The metadata of an exported model.

    Raises:
        UserError: no such folder, none of ``tools/export.py``, one of a later version, or damaged
            files.
    """
    path = folder / METADATA
    if not path.is_file():
        raise UserError(
            f"{folder.absolute()} holds no exported model ({METADATA} is missing): give the folder "
            "that tools/export.py wrote."
        )
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
        version, form, names = metadata["version"], metadata["format"], metadata["outputs"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error!r}): export the model again.") from error
    if version not in READABLE or form not in FILES or not isinstance(names, list):
        raise UserError(
            f"{path} is of version {version!r} and format {form!r}; this mmdet_maskr reads "
            f"versions {READABLE} and {', '.join(FILES)}."
        )
    if not (folder / FILES[form]).is_file():
        raise UserError(f"{folder / FILES[form]} is missing: export the model again.")
    _check_sums(folder, metadata)
    return metadata


def sealed(folder: Path, metadata: dict[str, Any]) -> dict[str, Any]:
    """Metadata with the SHA-256 of the files in a folder, and of itself.

    Args:
        folder: with nothing but the model's files.
        metadata: of the model.
    """
    files = {path.name: _sum_of_file(path) for path in sorted(folder.iterdir())}
    described = dict(metadata, files=files)
    return dict(described, checksum=_sum_of(described))


def _check_sums(folder: Path, metadata: dict[str, Any]) -> None:
    files, checksum = metadata.get("files"), metadata.get("checksum")
    if files is None and checksum is None:  # of a version that wrote none
        return
    content = {key: value for key, value in metadata.items() if key != "checksum"}
    if checksum != _sum_of(content) or not isinstance(files, dict):
        raise UserError(
            f"{folder / METADATA} is damaged: it differs from its checksum. Export the model again "
            "(if you have changed it yourself, remove its files and checksum)."
        )
    for name, wanted in files.items():
        path = folder / Path(name).name
        if not path.is_file() or _sum_of_file(path) != wanted:
            raise UserError(
                f"{path} is damaged, or not of {METADATA} beside it: it differs from the checksum "
                "there. Export the model again."
            )


def _sum_of(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _sum_of_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()

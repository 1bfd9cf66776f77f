"""The folder of an exported model: one file of weights and graph, and ``metadata.json``."""

from __future__ import annotations

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
        UserError: no such folder, none of ``tools/export.py``, or one of a later version.
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
    return metadata

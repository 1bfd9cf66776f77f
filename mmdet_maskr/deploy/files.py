"""The folder of an exported model: files of weights and graph, and ``metadata.json``.

The metadata have the SHA-256 of the other files, so an incomplete model is refused. A new model
replaces an older one atomically: its files are first written as ``NAME.partial``, the metadata
last. From then on the new files are valid, and the next process that opens the folder renames them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from mmdet_maskr.atomic_files import give_name
from mmdet_maskr.checksums import digest_of
from mmdet_maskr.data_files import field, is_number, read_json
from mmdet_maskr.errors import UserError

METADATA = "metadata.json"
VERSION = 2  # of the metadata; 2 says how files are read
READABLE = (1, 2)
FILES = dict(onnx="model.onnx", torchscript="model.pt", openvino="model.xml")
MORE_FILES = dict(openvino=("model.bin",))
CURE = "Export the model again."
PARTIAL = ".partial"
OUTPUTS = ["boxes", "scores", "labels", "masks", "heatmaps", "heatmap_rows"]
NEEDED = OUTPUTS[:3]
MAX_SIDE = 20_000  # of an image for the graph
MAX_FACTOR = 100


def is_exported(folder: str | Path) -> bool:
    """Whether a folder has the metadata of an exported model, whole or not."""
    path = Path(folder)
    names = (METADATA, f"{METADATA}{PARTIAL}")
    return path.is_dir() and any((path / name).is_file() for name in names)


def files_of(form: str) -> tuple[str, ...]:
    """Names of the files of a format, without the metadata."""
    return (FILES[form], *MORE_FILES.get(form, ()))


def checksum(metadata: dict[str, Any]) -> str:
    """SHA-256 of the metadata without ``checksum``; tuples count as lists, as in the file."""
    content = {name: value for name, value in metadata.items() if name != "checksum"}
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def read_metadata(folder: Path) -> dict[str, Any]:
    """Read the metadata of an exported model and check its files.

    Raises:
        UserError: the folder does not exist, was not written by ``maskr export``, or comes from a
            later version; files are missing or damaged.
    """
    finish(folder)
    path = folder / METADATA
    if not path.is_file():
        raise UserError(
            f"{folder.absolute()} has no exported model ({METADATA} is missing): pass the "
            "folder that maskr export wrote."
        )
    try:
        metadata = read_json(path, "metadata", dict, CURE)
    except UserError as error:
        raise UserError(f"{path} is damaged: {error}") from error
    version, form = metadata.get("version"), metadata.get("format")
    if version not in READABLE or not isinstance(form, str) or form not in FILES:
        raise UserError(
            f"{path} is of version {str(version)[:40]} and format {str(form)[:40]!r}; this "
            f"mmdet_maskr reads versions {READABLE} and {', '.join(FILES)}."
        )
    try:
        if metadata.get("checksum", checksum(metadata)) != checksum(metadata):
            raise UserError(f"{path} is damaged: it differs from its checksum.")
        _check(metadata, f"{path} is damaged:")
        for name in files_of(form):
            _check_file(folder / name, metadata.get("sha256", {}).get(name))
    except UserError as error:
        raise UserError(f"{error} {CURE}") from error
    return metadata


def _check_file(path: Path, expected: str | None) -> None:
    if not path.is_file():
        raise UserError(f"{path} is missing.")
    if expected is not None and digest_of(path) != expected:  # older exports have none
        raise UserError(f"{path} is damaged or belongs to another export: its checksum differs.")


def _check(metadata: dict[str, Any], named: str) -> None:
    def are_texts(value: object) -> bool:
        return isinstance(value, list) and all(isinstance(item, str) for item in value)

    def are_digests(value: object) -> bool:
        return isinstance(value, dict) and all(isinstance(v, str) for v in value.values())

    def are_outputs(value: object) -> bool:
        names = value if isinstance(value, list) else []
        whole = [name for name in OUTPUTS if name in names]
        both = ("heatmaps" in whole) == ("heatmap_rows" in whole)
        return names == whole and whole[:3] == NEEDED and both

    def is_part(value: object) -> bool:
        return isinstance(value, dict)

    field(metadata, "classes", lambda v: are_texts(v) and v, "a list of names", named)
    outputs = field(metadata, "outputs", are_outputs, f"some of {OUTPUTS}", named)
    if "sha256" in metadata:
        field(metadata, "sha256", are_digests, "digests by file", named)
    if "masks" in outputs:
        masks = field(metadata, "masks", is_part, "a dictionary", named)
        field(masks, "threshold", is_number, "a number", f"{named} masks:")
    if "heatmaps" in outputs:
        keypoints = field(metadata, "keypoints", is_part, "a dictionary", named)
        field(keypoints, "score", lambda v: v in ("logit", "probability"),
              "'logit' or 'probability'", f"{named} keypoints:")  # fmt: skip
        field(keypoints, "count", lambda v: type(v) is int and v > 0, "a number",
              f"{named} keypoints:")  # fmt: skip
    steps = field(metadata, "preprocessing", is_part, "a dictionary", named)
    resize = field(steps, "resize", lambda v: v is None or is_part(v), "a dictionary", named)
    if resize is not None:
        _check_resize(resize, f"{named} preprocessing.resize:")


def _check_resize(resize: dict[str, Any], named: str) -> None:
    def are_two(value: object, most: float) -> bool:
        return (
            isinstance(value, list)
            and len(value) == 2
            and all(is_number(v) and 0 < v <= most for v in value)
        )

    pixels = field(
        resize, "pixels", lambda v: v in ("mmdet", "detectron2"), "'mmdet' or 'detectron2'", named
    )
    sides = "two sides in pixels"
    scale = field(resize, "scale", lambda v: v is None or are_two(v, MAX_SIDE), sides, named)
    if scale is None and pixels == "detectron2":
        raise UserError(f"{named} scale is missing.")
    if scale is None:
        field(resize, "scale_factor", lambda v: are_two(v, MAX_FACTOR), "two factors", named)
    field(resize, "keep_ratio", lambda v: isinstance(v, bool), "true or false", named)


# ------------------------------------------------------------------------------------- replacing
def replace(new: Path, folder: Path) -> None:
    """Replace the model in a folder atomically.

    Args:
        new: folder on the same disk with the new files and metadata; they are moved.
        folder: folder of the older model; files of other formats stay.
    """
    (folder / f"{METADATA}{PARTIAL}").unlink(missing_ok=True)
    names = sorted((path.name for path in new.iterdir()), key=lambda name: name == METADATA)
    for name in names:  # the metadata last
        give_name(new / name, folder / f"{name}{PARTIAL}")
    finish(folder)


def finish(folder: Path) -> None:
    """Rename the files of a complete new model, if there is one.

    Raises:
        UserError: the folder is not writable.
    """
    record = folder / f"{METADATA}{PARTIAL}"
    if not record.is_file():
        return
    try:
        digests = read_json(record, "metadata", dict).get("sha256")
    except UserError:
        return  # of no use
    names = {name for form in FILES for name in files_of(form)}
    if not isinstance(digests, dict) or not digests or not digests.keys() <= names:
        return
    try:
        waiting = [name for name in digests if (folder / f"{name}{PARTIAL}").is_file()]
        moved = [name for name in digests if name not in waiting]
        if any(digest_of(folder / f"{name}{PARTIAL}") != digests[name] for name in waiting) or any(
            digest_of(folder / name) != digests[name] for name in moved
        ):
            return
        for name in waiting:
            os.replace(folder / f"{name}{PARTIAL}", folder / name)
        os.replace(record, folder / METADATA)
    except FileNotFoundError:
        return  # another process has done it, or part of it is not there
    except OSError as error:
        raise UserError(
            f"{folder} has a new model that cannot be renamed: {error.strerror}. {CURE}"
        ) from error


def clean(folder: Path) -> None:
    """Remove files left by killed exports."""
    finish(folder)
    for path in folder.glob(f"*{PARTIAL}"):
        known = {METADATA, *(name for form in FILES for name in files_of(form))}
        if path.name.removesuffix(PARTIAL) in known:
            path.unlink(missing_ok=True)
    for path in folder.glob(".export_*"):
        shutil.rmtree(path, ignore_errors=True)

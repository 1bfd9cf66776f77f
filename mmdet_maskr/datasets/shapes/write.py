"""Writing the shapes as a COCO dataset: deterministic, idempotent, safe to interrupt."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from mmdet_maskr import bands as band_files
from mmdet_maskr.atomic_files import remove_partials, write_whole
from mmdet_maskr.datasets.shapes.meta import CLASSES, KEYPOINTS, SKELETON
from mmdet_maskr.datasets.shapes.paint import render
from mmdet_maskr.datasets.shapes.scene import Shape, annotate, compose

SPLITS = ("train", "val")
SIZE_RANGE = (64, 1024)
COLORS = 3
BITS_14 = 64  # numbers of 8 bits by this
MANIFEST = "shapes.json"
_NAME = "mmdet_maskr SHAPES"
_VERSION = 1  # raise it whenever a change here alters a pixel or an annotation


def _scene(
    index: int, split: str, size: int, seed: int
) -> tuple[np.random.Generator, list[Shape], np.ndarray, list[dict]]:
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    shapes, labels = compose(rng, size)
    return rng, shapes, labels, annotate(rng, shapes, labels, index + 1)


def make_image(
    index: int, split: str, size: int = 160, seed: int = 0
) -> tuple[np.ndarray, list[dict]]:
    """Image ``index`` (from 0) of a split and its COCO annotations (image id ``index + 1``).

    Returns the image (S, S, 3) uint8 BGR and the list of annotations.

    Raises:
        ValueError: for an unknown split, or a size or seed out of range.
    """
    _check(size=size, seed=seed)
    if split not in SPLITS or index < 0:
        raise ValueError(f"split must be one of {SPLITS} and index >= 0, got {split!r}, {index}")
    rng, shapes, labels, annotations = _scene(index, split, size, seed)
    return render(rng, shapes, labels), annotations


# ------------------------------------------------------------------------------------------ writing
def categories() -> list[dict]:
    """The COCO category entries, ids 1 to 6."""
    entries = [
        {"id": k, "name": name, "supercategory": "shape"} for k, name in enumerate(CLASSES, 1)
    ]
    entries[CLASSES.index("figure")].update(
        keypoints=list(KEYPOINTS), skeleton=[list(p) for p in SKELETON]
    )
    return entries


def _check(**settings: int) -> None:
    ranges = {
        "images": (1, 999999),
        "val_images": (1, 999999),
        "size": SIZE_RANGE,
        "seed": (0, 2**63 - 1),
        "bands": (1, band_files.MOST_BANDS),
    }
    for name, value in settings.items():
        low, high = ranges[name]
        if not (isinstance(value, int) and low <= value <= high):
            raise ValueError(f"{name} must be an integer from {low} to {high}, got {value}")


def _dump(path: Path, content: dict) -> None:
    write_whole(path, json.dumps(content, separators=(",", ":")))


def as_bands(image: np.ndarray, bands: int) -> np.ndarray:
    """(S, S, bands) uint16 of 14 bits: each a mixture of the colors (S, S, 3), always the same."""
    weights = np.random.default_rng(bands).dirichlet(np.full(COLORS, 0.5), bands)
    return np.rint(image @ weights.T * BITS_14).astype(np.uint16)


def _encode(image: np.ndarray, bands: int) -> bytes:
    if bands == COLORS:
        return cv2.imencode(".png", image)[1].tobytes()
    return band_files.encode_bands(as_bands(image, bands))


def _is_whole(path: Path) -> bool:
    """Whether an image is there to its end; TIFFs get their name once they are whole."""
    return path.is_file() if path.suffix == ".tif" else _is_png(path)


def _is_png(path: Path) -> bool:
    """Whether a PNG is there to its last chunk."""
    if not path.is_file() or path.stat().st_size < 64:
        return False
    with path.open("rb") as file:
        file.seek(-8, os.SEEK_END)
        return file.read(4) == b"IEND"


def _claim(out: Path, settings: dict[str, int], force: bool) -> bool:
    """Make ``out`` a dataset with these settings; whether it is complete already.

    Raises:
        ValueError: for a folder that holds other things, or (without ``force``) other settings.
    """
    manifest = out / MANIFEST
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file, not a folder")
    found: dict = {}
    if manifest.is_file():
        try:
            found = json.loads(manifest.read_text())
        except ValueError:
            found = {}
    if not isinstance(found, dict) or found.get("dataset") != _NAME:
        if out.is_dir():
            remove_partials(out, MANIFEST)
        if out.is_dir() and any(out.iterdir()):
            raise ValueError(
                f"{out} is not empty and is not a SHAPES dataset (no valid {MANIFEST}); "
                "choose another folder"
            )
    elif found.get("settings") == settings and not force:
        return found.get("complete") is True
    elif not force:
        old = found.get("settings") or {}
        differing = ", ".join(
            f"{k} is {old.get(k)} there and {v} here"
            for k, v in settings.items()
            if old.get(k) != v
        )
        raise ValueError(
            f"{out} has a SHAPES dataset with other settings: {differing}. Choose "
            "another folder, or pass --force (force=True) to overwrite this one"
        )
    else:  # the manifest goes last: until then the folder is known as ours
        for name in ("annotations", *SPLITS):
            if (out / name).exists():
                shutil.rmtree(out / name)
    _dump(manifest, {"dataset": _NAME, "settings": settings, "complete": False})
    return False


def write_dataset(
    out_dir: str | os.PathLike,
    images: int = 800,
    val_images: int = 200,
    size: int = 160,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    force: bool = False,
    bands: int = COLORS,
) -> Path:
    """Write train and val images and their COCO JSON; go on where an earlier call was cut off.

    Layout: ``annotations/instances_{train,val}.json``, ``{train,val}/000001.png``, ...,
    ``shapes.json`` (the settings, and whether the set is complete).

    Args:
        out_dir: target folder: new, empty, or written with the same settings.
        images: number of training images.
        val_images: number of validation images.
        size: image side S in pixels.
        seed: seed of the whole set.
        progress: called as ``progress(done, total)`` after every image.
        force: rewrite a SHAPES folder, even of other settings.
        bands: of the images; other than 3 are written as TIFF of 16 bits.

    Returns:
        The folder.

    Raises:
        ValueError: for settings out of range, a foreign folder, or one with other settings.
    """
    # 1. settings and names of all files
    out, counts = Path(out_dir), dict(zip(SPLITS, (images, val_images), strict=True))
    settings = {"images": images, "val_images": val_images, "size": size, "seed": seed}
    _check(**settings, bands=bands)
    settings["version"] = _VERSION
    if bands != COLORS:
        settings["bands"] = bands
    suffix = ".png" if bands == COLORS else ".tif"
    targets = {split: out / "annotations" / f"instances_{split}.json" for split in SPLITS}
    files = {
        split: [out / split / f"{k + 1:06d}{suffix}" for k in range(counts[split])]
        for split in SPLITS
    }
    # 2. done already?
    complete = _claim(out, settings, force)
    if (
        complete
        and all(p.is_file() for p in targets.values())
        and all(_is_whole(p) for split in SPLITS for p in files[split])
    ):
        return out
    # 3. images that are missing or damaged, then the annotation file of their split
    done, total = 0, images + val_images
    for split in SPLITS:
        for folder in (out / split, out / "annotations"):
            folder.mkdir(exist_ok=True)
        annotations: list[dict] = []
        for index, path in enumerate(files[split]):
            rng, shapes, labels, found = _scene(index, split, size, seed)
            annotations += found
            if not _is_whole(path):
                content = _encode(render(rng, shapes, labels), bands)
                write_whole(path, content, durable=False)  # thousands, made again at will
            done += 1
            if progress is not None:
                progress(done, total)
        _dump(
            targets[split],
            {
                "info": {"description": f"{_NAME} {split}", "version": str(_VERSION), **settings},
                "licenses": [],
                "images": [
                    {"id": k, "file_name": p.name, "width": size, "height": size}
                    for k, p in enumerate(files[split], 1)
                ],
                "annotations": annotations,
                "categories": categories(),
            },
        )
    _dump(out / MANIFEST, {"dataset": _NAME, "settings": settings, "complete": True})
    return out

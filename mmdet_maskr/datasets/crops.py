"""A dataset of large images as a dataset of crops, each with the visible part of its objects.

- Polygons are clipped, run-length codes cut, boxes put around what is left.
- An object of which a crop shows less than a share is no example of its class, and no background
  either: there it is a crowd (``iscrowd=1``), which training leaves alone and evaluation forgives.
- Crowds stay crowds. Keypoints outside of a crop are not labeled there.
- Of crops without objects, a share is kept.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from mmdet_maskr.atomic_files import write_whole
from mmdet_maskr.bands import encode_bands, read_bands
from mmdet_maskr.cli.spelling import call
from mmdet_maskr.coco.reader import read_checked
from mmdet_maskr.datasets.crop_annotations import cut_annotation
from mmdet_maskr.errors import UserError
from mmdet_maskr.inference.tiles.grid import Tile, Tiling
from mmdet_maskr.inference.tiles.rasters import Raster, is_tiff, open_raster
from mmdet_maskr.inference.walk import Unreadable

IN_PNG = (np.uint8, np.uint16)
IN_PNG_ORDER = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}  # OpenCV's of as many bands


@dataclass(frozen=True)
class Cutting:
    """How images are cut.

    Args:
        tiling: where the crops lie.
        min_visible: the share of an object's area that a crop has to show for it to be one.
        empty: crops without objects that are kept, as a share of those with some.
        seed: of the choice among them.

    Raises:
        UserError: a share that is none.
    """

    tiling: Tiling
    min_visible: float = 0.25
    empty: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.min_visible <= 1:
            raise UserError(f"min_visible={self.min_visible}: it must be a fraction from 0 to 1.")
        if not self.empty >= 0:
            raise UserError(f"empty={self.empty}: it must be 0 or more.")


@dataclass
class Report:
    """What has been written.

    Attributes:
        path: of the annotation file.
        crops: with objects.
        empty: without.
        left_out: crops without objects that were not kept.
        objects: that are examples.
        crowds: that are crowds only in a crop, since it shows too little of them.
        sides: square root of each object's area, in pixels.
    """

    path: Path
    crops: int = 0
    empty: int = 0
    left_out: int = 0
    objects: int = 0
    crowds: int = 0
    sides: list[float] = field(default_factory=list)


def cut_dataset(
    ann_file: Path,
    images: Path,
    out: Path,
    cutting: Cutting,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Write ``out/annotations/NAME.json`` and ``out/IMAGES/NAME_X_Y.png``.

    The same settings write the same files. Images are read window by window where that is possible,
    and written without loss: PNG, and TIFF where PNG cannot hold their bands or numbers.

    Args:
        ann_file: COCO annotation file.
        images: folder of its images.
        out: folder to write to.
        cutting: how.
        progress: called with images done and to do.

    Raises:
        UserError: what is wrong with the annotation file; an image that is missing, unreadable or
            of another size than the file says; ``out`` holds ``images``; nothing to train on.
    """
    content = read_checked(ann_file)
    folder = out / images.resolve().name
    if folder.resolve() == images.resolve():
        raise UserError(f"{out} is the folder of the images: choose another folder.")
    by_image: dict[Any, list[dict]] = defaultdict(list)
    for annotation in content["annotations"]:
        by_image[annotation["image_id"]].append(annotation)
    report = Report(out / "annotations" / ann_file.name)
    plans = {entry["id"]: _crops_of(entry, by_image[entry["id"]], cutting)
             for entry in content["images"]}  # fmt: skip
    kept = _chosen(plans, cutting, report)
    crops: list[dict] = []
    annotations: list[dict] = []
    for done, entry in enumerate(content["images"], start=1):
        numbers = kept[entry["id"]]
        raster = _open(images / entry["file_name"], entry) if numbers else None
        for number in numbers:
            tile, found = plans[entry["id"]][number]
            assert raster is not None
            name = _write(raster, tile, folder, entry["file_name"])
            height, width = tile.y1 - tile.y0, tile.x1 - tile.x0
            source = dict(file_name=entry["file_name"], x=tile.x0, y=tile.y0)
            crops.append(
                dict(id=len(crops) + 1, file_name=name, height=height, width=width, source=source)
            )
            for annotation in found:
                identity = dict(id=len(annotations) + 1, image_id=len(crops))
                annotations.append({**annotation, **identity})
                _count(report, annotation)
        progress(done, len(content["images"]))
    if not report.objects:
        raise UserError(f"{ann_file} has no objects that are large enough in any crop to train on.")
    new = {**content, "images": crops, "annotations": annotations}
    write_whole(report.path, json.dumps(new))
    return report


def _crops_of(
    entry: Mapping[str, Any], annotations: Sequence[Mapping], cutting: Cutting
) -> list[tuple[Tile, list[dict]]]:
    """The tiles of an image, each with its annotations."""
    size = entry["height"], entry["width"]
    return [
        (
            tile,
            [
                cut
                for annotation in annotations
                if (cut := cut_annotation(annotation, tile, size, cutting.min_visible)) is not None
            ],
        )
        for tile in cutting.tiling.tiles(*size)
    ]


def _chosen(
    plans: Mapping[Any, list[tuple[Tile, list[dict]]]], cutting: Cutting, report: Report
) -> dict[Any, list[int]]:
    """Numbers of the crops of each image that are kept."""
    kept: dict[Any, list[int]] = {}
    empty: list[tuple[Any, int]] = []
    for image, crops in plans.items():
        full = [i for i, (_, found) in enumerate(crops) if _has_objects(found)]
        kept[image] = full
        report.crops += len(full)
        empty += [(image, i) for i in range(len(crops)) if i not in set(full)]
    count = min(len(empty), round(cutting.empty * report.crops))
    for image, i in random.Random(cutting.seed).sample(empty, count):
        kept[image].append(i)
    report.empty, report.left_out = count, len(empty) - count
    return {image: sorted(numbers) for image, numbers in kept.items()}


def _has_objects(found: Sequence[Mapping]) -> bool:
    return any(not annotation.get("iscrowd") for annotation in found)


def _count(report: Report, annotation: Mapping[str, Any]) -> None:
    if annotation.get("iscrowd"):
        report.crowds += 1
    else:
        report.objects += 1
        report.sides.append(float(annotation["area"]) ** 0.5)


def _open(path: Path, entry: Mapping[str, Any]) -> Raster:
    """An image, whose size is as its annotation file says.

    Raises:
        UserError: it is not, or no image.
    """
    if not path.is_file():
        raise UserError(f"there is no image {path.absolute()}.")
    raster = open_raster(str(path), _load, channels=None, is_color=False)
    if (raster.height, raster.width) != (entry["height"], entry["width"]):
        raise UserError(
            f"{path} has {raster.width} x {raster.height} pixels, but the annotation "
            f"file says {entry['width']} x {entry['height']}: "
            f"{call('check FILE --fix COPY')} repairs it."
        )
    return raster


def _load(path: str) -> np.ndarray:
    """All bands of a file with all their bits, (H, W, C) in the file's order."""
    if is_tiff(path):
        return read_bands(path)
    content = np.fromfile(path, np.uint8)
    flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR  # upright, as training sees it
    image = cv2.imdecode(content, flags) if content.size else None
    if image is None:
        raise Unreadable(path, "OpenCV cannot read it as an image")
    return image[..., None] if image.ndim == 2 else image[..., ::-1]


def _write(raster: Raster, tile: Tile, folder: Path, file_name: str) -> str:
    """Write a crop; its name within the folder."""
    pixels = raster.read(tile)
    is_png = pixels.dtype in IN_PNG and pixels.shape[2] in IN_PNG_ORDER
    suffix = ".png" if is_png else ".tif"
    source = PurePosixPath(file_name)
    name = str(source.with_name(f"{source.stem}_{tile.x0}_{tile.y0}{suffix}"))
    if is_png:
        content = cv2.imencode(suffix, pixels[..., IN_PNG_ORDER[pixels.shape[2]]])[1].tobytes()
    else:
        content = encode_bands(pixels)
    write_whole(folder / name, content, durable=False)
    return name

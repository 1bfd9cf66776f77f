"""Large images of the shapes: validation images next to each other, to measure tiles on."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np

from mmdet_maskr import run_sets
from mmdet_maskr.atomic_files import write_whole
from mmdet_maskr.datasets.shapes.write import MANIFEST
from mmdet_maskr.deploy.images import read_image
from mmdet_maskr.run_lengths import rles

SPLIT = "mosaic"


def write_mosaics(folder: str | os.PathLike, side: int) -> Path:
    """Write ``mosaic/*.png`` and their annotations: ``side`` x ``side`` validation images each.

    Images that do not fill a mosaic are left out.

    Args:
        folder: a complete SHAPES dataset of three bands.
        side: images along a side.

    Returns:
        The annotation file.

    Raises:
        ValueError: too few images for one mosaic, or images of other than three bands.
    """
    folder = Path(folder)
    settings = json.loads((folder / MANIFEST).read_text())["settings"]
    size, count = settings["size"], settings["val_images"]
    if "bands" in settings:
        raise ValueError("mosaics need images with three bands")
    if not 1 <= side * side <= count:
        raise ValueError(f"a mosaic of {side} x {side} needs {side * side} of {count} val images")
    content = json.loads((folder / "annotations" / "instances_val.json").read_text())
    names = [image["file_name"] for image in content["images"]]
    (folder / SPLIT).mkdir(exist_ok=True)
    # 1. where each image goes: mosaic, column, row
    places = {
        image["id"]: (index // side**2 + 1, index % side * size, index // side % side * size)
        for index, image in enumerate(content["images"][: count // side**2 * side**2])
    }
    # 2. pixels
    content["images"] = []
    for start in range(0, len(places), side**2):
        pictures = [read_image(folder / "val" / name) for name in names[start:][: side**2]]
        rows = [np.hstack(pictures[i : i + side]) for i in range(0, side**2, side)]
        number = start // side**2 + 1
        name = f"{number:06d}.png"
        write_whole(folder / SPLIT / name, cv2.imencode(".png", np.vstack(rows))[1].tobytes())
        content["images"].append(
            dict(id=number, file_name=name, width=side * size, height=side * size)
        )
    # 3. annotations
    content["annotations"] = [
        _moved(annotation, *places[annotation["image_id"]], side * size)
        for annotation in content["annotations"]
        if annotation["image_id"] in places
    ]
    target = folder / "annotations" / f"instances_{SPLIT}.json"
    write_whole(target, json.dumps(content, separators=(",", ":")))
    return target


def _moved(annotation: dict, number: int, x0: int, y0: int, size: int) -> dict:
    """An annotation in mosaic ``number`` of ``size`` pixels, ``x0`` and ``y0`` from its corner."""
    x, y, width, height = annotation["bbox"]
    shape = annotation["segmentation"]
    if isinstance(shape, dict):
        runs = run_sets.moved(run_sets.of_rle(shape), shape["size"][0], x0, y0, size)
        shape = rles([runs], (size, size))[0]
        shape["counts"] = shape["counts"].decode()
    else:
        corner = np.array([x0, y0])
        shape = [(np.reshape(part, (-1, 2)) + corner).ravel().tolist() for part in shape]
    moved = dict(
        annotation, image_id=number, bbox=[x + x0, y + y0, width, height], segmentation=shape
    )
    if "keypoints" in annotation:
        points = np.reshape(annotation["keypoints"], (-1, 3))
        points[:, :2] += (points[:, 2:] > 0) * [x0, y0]
        moved["keypoints"] = points.ravel().tolist()
    return moved

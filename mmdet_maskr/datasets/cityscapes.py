"""Cityscapes instances (Cordts et al. 2016): the dataset, and its label images as COCO JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pycocotools.mask
from mmdet.datasets import CityscapesDataset
from mmdet.registry import DATASETS

from mmdet_maskr.atomic_files import write_whole
from mmdet_maskr.coco.form import as_text
from mmdet_maskr.datasets.coco_instance import CocoInstanceDataset
from mmdet_maskr.errors import UserError

# The classes that have instances and count in the evaluation, by their id in label images.
CATEGORIES = {
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}
ANN_FILE = "annotations/instancesonly_filtered_gtFine_{split}.json"


@DATASETS.register_module()
class CityscapesInstanceDataset(CocoInstanceDataset, CityscapesDataset):
    """mmdet's CityscapesDataset with the checks of CocoInstanceDataset. Takes their options.

    Its annotation files are those of :func:`convert` or of mmdet's converter.
    """

    TITLE = "Cityscapes"
    TAKES_CROWDS_ALONE = False  # as mmdet's CityscapesDataset


def convert(
    root: Path, split: str, progress: Callable[[int, int], None] | None = None
) -> tuple[Path, int, int]:
    """Write the instances of ``gtFine`` as a COCO annotation file, with RLE masks.

    Pixels of an instance hold 1000 * class + number; those with a class alone are groups, which
    become crowds.

    Args:
        root: folder with ``gtFine`` and ``leftImg8bit``.
        split: 'train' or 'val'.
        progress: called as ``progress(done, total)`` after every image.

    Returns:
        The file, and the numbers of images and annotations.

    Raises:
        UserError: no label images of this split, one that cannot be read or lacks its photo.
    """
    labels = sorted((root / "gtFine" / split).glob("*/*_gtFine_instanceIds.png"))
    if not labels:
        raise UserError(
            f"there is no {root.absolute()}/gtFine/{split}/CITY/*_gtFine_instanceIds.png: unpack "
            "gtFine_trainvaltest.zip there."
        )
    images: list[dict] = []
    annotations: list[dict] = []
    for image_id, path in enumerate(labels):
        photo = Path(path.parent.name) / path.name.replace("gtFine_instanceIds", "leftImg8bit")
        if not (root / "leftImg8bit" / split / photo).is_file():
            raise UserError(
                f"{path} has no photo leftImg8bit/{split}/{photo} in {root.absolute()}: unpack "
                "leftImg8bit_trainvaltest.zip there."
            )
        ids = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if ids is None or ids.ndim != 2:
            raise UserError(f"label image {path} cannot be read: it is not a PNG with one channel.")
        height, width = ids.shape
        images.append(dict(id=image_id, file_name=str(photo), height=height, width=width))
        for annotation in instances_of(ids):
            # ids from 1, as pycocotools takes a match with annotation 0 for none
            annotations.append(dict(annotation, id=len(annotations) + 1, image_id=image_id))
        if progress is not None:
            progress(image_id + 1, len(labels))
    target = root / ANN_FILE.format(split=split)
    categories = [dict(id=i, name=name) for i, name in CATEGORIES.items()]
    content = dict(images=images, annotations=annotations, categories=categories)
    write_whole(target, json.dumps(content))
    return target, len(images), len(annotations)


def instances_of(ids: np.ndarray) -> list[dict]:
    """Annotations of one label image (H, W), without ids: box, RLE, area, category, crowd."""
    found = []
    for value in np.unique(ids).tolist():
        category = value // 1000 if value >= 1000 else value
        if category not in CATEGORIES:
            continue
        rle = pycocotools.mask.encode(np.asfortranarray(ids == value, np.uint8))
        found.append(
            dict(
                category_id=category,
                iscrowd=int(value < 1000),
                area=int(pycocotools.mask.area(rle)),
                bbox=pycocotools.mask.toBbox(rle).tolist(),
                segmentation=as_text(rle),
            )
        )
    return found

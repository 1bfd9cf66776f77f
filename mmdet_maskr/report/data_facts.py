"""Facts about a dataset: images, objects, classes, sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset

from mmdet_maskr.datasets import wrappers

SMALL, MEDIUM = 32, 96  # COCO's, sides in pixels


def facts_of(dataset: Any) -> dict:
    """Count a built dataset, wrapped or not, without opening an image.

    Args:
        dataset: of mmdet's kind: ``get_data_info`` gives width, height and instances.

    Returns:
        ``images``, ``empty`` (without any object), ``objects``, ``crowds``, ``box_only`` (without
        a mask, where others have one), ``classes`` (name, objects, images, by size), ``sides``
        (10th, 50th, 90th percentile of objects' sides in pixels, the square root of their boxes'
        areas), ``image_sizes`` (smallest, median, largest width and height), ``most`` objects in
        one image and their ``median``.
    """
    leaves: list[BaseDataset] = list(wrappers.leaves(dataset))
    names = list(leaves[0].metainfo["classes"])
    labels, sides, per_image, sizes = [], [], [], []
    in_images = np.zeros(len(names), int)
    crowds = box_only = 0
    for leaf in leaves:
        for index in range(len(leaf)):
            info = leaf.get_data_info(index)
            counted = [i for i in info.get("instances", []) if not i.get("ignore_flag")]
            crowds += len(info.get("instances", [])) - len(counted)
            box_only += sum(not instance.get("mask") for instance in counted)
            labels += [instance["bbox_label"] for instance in counted]
            sides += [_side(instance) for instance in counted]
            per_image.append(len(counted))
            sizes.append((info.get("width", 0), info.get("height", 0)))
            in_images[sorted({instance["bbox_label"] for instance in counted})] += 1
    places, lengths = np.array(labels, int), np.array(sides, float)
    size = np.digitize(lengths, (SMALL, MEDIUM))
    classes = [
        dict(
            name=name,
            objects=int((places == k).sum()),
            images=int(in_images[k]),
            sizes=[int(((places == k) & (size == s)).sum()) for s in range(3)],
        )
        for k, name in enumerate(names)
    ]
    return dict(
        images=len(per_image),
        empty=sum(count == 0 for count in per_image),
        objects=len(labels),
        crowds=crowds,
        box_only=0 if box_only == len(labels) else box_only,
        classes=classes,
        sides=_percentiles(lengths, (10, 50, 90)),
        image_sizes=_image_sizes(sizes),
        most=max(per_image, default=0),
        median=float(np.median(per_image)) if per_image else 0.0,
    )


def _side(instance: Mapping) -> float:
    x1, y1, x2, y2 = instance["bbox"]
    return float(np.sqrt(max(x2 - x1, 0) * max(y2 - y1, 0)))


def _percentiles(values: np.ndarray, wanted: tuple[int, ...]) -> list[int]:
    return [round(float(v)) for v in np.percentile(values, wanted)] if len(values) else []


def _image_sizes(sizes: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """(width, height) of the smallest image by area, the one in the middle, the largest."""
    ordered = sorted(sizes, key=lambda size: size[0] * size[1])
    return [ordered[0], ordered[len(ordered) // 2], ordered[-1]] if ordered else []

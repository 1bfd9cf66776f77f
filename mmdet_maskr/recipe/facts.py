"""The properties of a dataset that a recipe depends on. Sizes in pixels of the photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmdet_maskr.coco.index import AnnotationIndex, Flag, open_index
from mmdet_maskr.coco.index.columns import RLE
from mmdet_maskr.datasets.formats.prepared import Prepared
from mmdet_maskr.errors import UserError
from mmdet_maskr.recipe.bands import Bands, bands_of


@dataclass(frozen=True)
class Facts:
    """Properties of a folder of annotated photos.

    Attributes:
        images: number of training photos.
        negatives: number of training photos without objects.
        counts: training objects by class, in the order of classes.
        val_images: number of validation photos.
        val_counts: validation objects by class.
        width: median width of the photos.
        height: median height of the photos.
        sizes: (N,) square roots of the box areas of training objects.
        aspects: (N,) height / width of these boxes.
        most_objects: largest number of objects in a photo, of training and validation.
        many_objects: 95 % of the photos have at most this number of objects.
        masks: fraction of training objects with a mask.
        val_masks: number of validation objects with a mask.
        keypoints: metainfo of the keypoints; None if there are none.
        classes: the classes to train.
        bands: bands of photos with more than 8 bits; None for photos loaded as 8-bit colors.
        deep: number of photos with more than 8 bits.
    """

    images: int
    negatives: int
    counts: Mapping[str, int]
    val_images: int
    val_counts: Mapping[str, int]
    width: float
    height: float
    sizes: np.ndarray
    aspects: np.ndarray
    most_objects: int
    many_objects: int
    masks: float
    val_masks: int
    keypoints: Mapping[str, Any] | None = None
    classes: Sequence[str] = field(default_factory=tuple)
    bands: Bands | None = None
    deep: int = 0

    @property
    def objects(self) -> int:
        """Number of training objects."""
        return sum(self.counts.values())

    @property
    def imbalance(self) -> float:
        """Objects of the most frequent class, divided by those of the rarest class that has any."""
        present = [count for count in self.counts.values() if count]
        return max(present) / min(present) if present else 1.0

    def size(self, share: float) -> float:
        """The size below which this fraction of the objects lies."""
        return float(np.quantile(self.sizes, share))


def facts_of(prepared: Prepared, classes: Sequence[str] | None = None) -> Facts:
    """Compute the facts of a folder.

    Args:
        prepared: the folder.
        classes: classes to train; None for all.

    Raises:
        UserError: there are no validation photos, or no training objects.
    """
    if "train" not in prepared.files or "val" not in prepared.files:
        have = " and ".join(prepared.files)
        raise UserError(
            f"{prepared.root} has photos for {have} only: training and validation both need "
            "photos. Remove the split folders, or pass another folder with --val."
        )
    wanted = tuple(classes or prepared.summary["classes"])
    train, val = (open_index(prepared.files[split]) for split in ("train", "val"))
    chosen, val_chosen = (_chosen(index, wanted) for index in (train, val))
    if not chosen.any():
        raise UserError(f"{prepared.root} has no objects of {', '.join(wanted)} to train on.")
    boxes = train.arrays["bbox"][chosen, 2:].astype(np.float64).clip(1)
    per_image = np.concatenate(
        [_per_image(index, of) for index, of in ((train, chosen), (val, val_chosen))]
    )
    bands, deep = bands_of(prepared)
    return Facts(
        images=train.num_images,
        negatives=int((_per_image(train, chosen) == 0).sum()),
        counts=_counts(train, chosen, wanted),
        val_images=val.num_images,
        val_counts=_counts(val, val_chosen, wanted),
        width=float(np.median(train.arrays["width"])),
        height=float(np.median(train.arrays["height"])),
        sizes=np.sqrt(boxes.prod(1)),
        aspects=boxes[:, 1] / boxes[:, 0],
        most_objects=int(per_image.max(initial=0)),
        many_objects=int(np.quantile(per_image, 0.95)),
        masks=float(_has_mask(train)[chosen].mean()),
        val_masks=int(_has_mask(val)[val_chosen].sum()),
        keypoints=prepared.summary["keypoints"],
        classes=wanted,
        bands=bands,
        deep=deep,
    )


def _chosen(index: AnnotationIndex, classes: Sequence[str]) -> np.ndarray:
    """(N,) bool: objects of the classes that are no crowds."""
    names = {category["id"]: category["name"] for category in index.categories}
    wanted = np.array([names[i] in classes for i in index.category_ids], bool)
    return wanted[index.arrays["category"]] & ~index.has(Flag.CROWD)


def _counts(index: AnnotationIndex, chosen: np.ndarray, classes: Sequence[str]) -> dict[str, int]:
    names = {category["id"]: category["name"] for category in index.categories}
    codes = np.bincount(index.arrays["category"][chosen], minlength=len(index.category_ids))
    by_name = dict.fromkeys(classes, 0)
    for category_id, count in zip(index.category_ids, codes.tolist(), strict=True):
        if names[category_id] in by_name:
            by_name[names[category_id]] += count
    return by_name


def _per_image(index: AnnotationIndex, chosen: np.ndarray) -> np.ndarray:
    return np.bincount(index.arrays["image"][chosen], minlength=index.num_images)


def _has_mask(index: AnnotationIndex) -> np.ndarray:
    return (np.diff(index.arrays["polygon_end"], prepend=0) > 0) | index.has(RLE)

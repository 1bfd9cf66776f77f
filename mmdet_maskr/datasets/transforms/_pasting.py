"""Pastes objects over an image, and removes what they hide from the objects below.

Symbols: N objects of the image, K keypoints, H x W image size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from mmdet.structures.bbox import get_box_tensor
from mmdet.structures.mask import BitmapMasks

from mmdet_maskr.datasets.transforms._in_step import record_step
from mmdet_maskr.structures import GeometryMasks

OCCLUDED, VISIBLE = 1, 2  # COCO's visibilities


@dataclass(frozen=True)
class PastedObject:
    """An object that is pasted, in pixels of the image that it is pasted into.

    Attributes:
        pixels: (h, w, C) of the rectangle around it.
        mask: (h, w) bool.
        corner: x, y of the rectangle's first pixel.
        label: its class.
        keypoints: (K, 3) or None.
    """

    pixels: np.ndarray
    mask: np.ndarray
    corner: tuple[int, int]
    label: int
    keypoints: np.ndarray | None

    @property
    def window(self) -> tuple[slice, slice]:
        """Its rectangle in the image."""
        x, y = self.corner
        return slice(y, y + self.mask.shape[0]), slice(x, x + self.mask.shape[1])


def paste(results: dict, objects: list[PastedObject], least_visible: float) -> None:
    """Paste objects one over the other, and take what they hide from what is below."""
    # 1. masks as pixels, and their areas before
    image = results["img"] = results["img"].copy()
    old = len(results["gt_masks"])
    height, width = image.shape[:2]
    pixels = list(results["gt_masks"].to_ndarray().astype(bool))
    before = np.array([mask.sum() for mask in (*pixels, *(one.mask for one in objects))], float)
    geometry = isinstance(results["gt_masks"], GeometryMasks)
    known = results["gt_masks"].known if geometry else np.ones(old, bool)
    with_points = results.get("gt_keypoints") is not None
    points = list(results["gt_keypoints"].copy()) if with_points else []
    changed = np.zeros(old, bool)
    # 2. paste: each object hides what is below it
    for one in objects:
        image[one.window][one.mask] = one.pixels[one.mask]
        for i, below in enumerate(pixels):
            hidden = below[one.window] & one.mask
            if hidden.any():
                below[one.window] &= ~one.mask
                if i < old:
                    changed[i] = True
        if with_points:
            for below in points:
                _occlude(below, one)
            points.append(_own_points(one, results))
        whole = np.zeros((height, width), bool)
        whole[one.window] = one.mask
        pixels.append(whole)
    # 3. keep what was not touched, and of the others those that are visible enough
    left = np.array([mask.sum() for mask in pixels], float)
    flags = np.array([*ignored(results.get("gt_ignore_flags"), old), *[False] * len(objects)], bool)
    share = np.divide(left, before, out=np.zeros_like(left), where=before > 0)
    touched = np.append(changed, np.ones(len(objects), bool))
    kept = ~touched | np.where(flags, left > 0, share >= least_visible)
    # 4. boxes and masks of what has changed, drawn anew
    boxes = np.concatenate(
        [np.asarray(get_box_tensor(results["gt_bboxes"]), np.float32).reshape(-1, 4),
         np.zeros((len(objects), 4), np.float32)]
    )  # fmt: skip
    redrawn = [i for i in np.flatnonzero(touched & kept).tolist() if i >= old or known[i]]
    for i in redrawn:
        ys, xs = np.flatnonzero(pixels[i].any(1)), np.flatnonzero(pixels[i].any(0))
        boxes[i] = xs[0], ys[0], xs[-1] + 1, ys[-1] + 1
    rows = np.flatnonzero(kept)
    results["gt_masks"] = _masks(results["gt_masks"], pixels, rows, set(redrawn))
    # 5. the other fields
    labels = [one.label for one in objects]
    results["gt_bboxes_labels"] = np.concatenate(
        [results["gt_bboxes_labels"], np.array(labels, results["gt_bboxes_labels"].dtype)]
    )[rows]
    results["gt_ignore_flags"] = flags[rows]
    kind = type(results["gt_bboxes"])
    plain = isinstance(results["gt_bboxes"], np.ndarray)
    results["gt_bboxes"] = boxes[rows] if plain else kind(boxes[rows])
    if with_points:
        results["gt_keypoints"] = np.stack(points)[rows].astype(np.float32)
        record_step(results)


def _masks(
    old: BitmapMasks, pixels: list[np.ndarray], rows: np.ndarray, redrawn: set[int]
) -> BitmapMasks:
    """Masks of the rows: redrawn ones from pixels, the others as they were."""
    size = (old.height, old.width)
    if not isinstance(old, GeometryMasks):
        return BitmapMasks(
            np.stack([pixels[i] for i in rows]).astype(old.masks.dtype)
            if len(rows) else np.zeros((0, *size), old.masks.dtype), *size,
        )  # fmt: skip
    parts = [
        GeometryMasks([pixels[i].astype(np.uint8)], *size) if i in redrawn else old[[int(i)]]
        for i in rows
    ]
    return GeometryMasks.cat(parts) if parts else GeometryMasks([], *size)


def _occlude(points: np.ndarray, one: PastedObject) -> None:
    """Visible keypoints (K, 3) under an object become occluded ones, in place."""
    x, y = np.floor(points[:, :2]).astype(int).T - np.array(one.corner)[:, None]
    height, width = one.mask.shape
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height) & (points[:, 2] == VISIBLE)
    under = np.flatnonzero(inside)
    points[under[one.mask[y[under], x[under]]], 2] = OCCLUDED


def _own_points(one: PastedObject, results: dict) -> np.ndarray:
    """(K, 3) of a pasted object; all absent where its image has no keypoints."""
    number = len(results["keypoint_flip_indices"])
    return np.zeros((number, 3), np.float32) if one.keypoints is None else one.keypoints.copy()


def ignored(flags: np.ndarray | None, count: int) -> list[bool]:
    """``gt_ignore_flags`` of N objects; none where there are no flags."""
    return [False] * count if flags is None else [bool(flag) for flag in flags]

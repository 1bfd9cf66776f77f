"""Masks as outlines, which a browser draws crisply at any size.

Symbols: H x W the image, in pixels; (0, 0) is the corner of its first pixel.
"""

from __future__ import annotations

import cv2
import numpy as np
import pycocotools.mask

from mmdet_maskr.coco.form import compressed

FINE, MEDIUM = 160, 640  # longest sides, in pixels, of masks that are traced at 1/4 and 1/2 pixel
BLUR, LEAST = 0.6, 0.45  # sigma in pixels, and what counts as inside; a line of one pixel stays
STAIR = 0.75  # of the finer pixels: what a slope's outline leaves the slope by

Rings = list[list[float]]  # each [x, y, x, y, ...]; a ring within another one is a hole


def outlines(rle: dict) -> Rings:
    """Rings around a mask's parts and holes, smooth to a part of a pixel.

    Args:
        rle: COCO's, of size H x W.
    """
    x, y, width, height = (int(value) for value in pycocotools.mask.toBbox(rle))
    if not width or not height:
        return []
    crop = pycocotools.mask.decode(rle)[y : y + height, x : x + width]
    crop = np.pad(crop, 1)  # a ring closes inside of the picture
    longest = max(crop.shape)
    factor = 4 if longest <= FINE else 2 if longest <= MEDIUM else 1
    size = (crop.shape[1] * factor, crop.shape[0] * factor)
    smooth = cv2.resize(crop.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    if factor > 1:
        smooth = cv2.GaussianBlur(smooth, (0, 0), BLUR * factor)  # of stairs, a slope
    inside = (smooth >= LEAST).astype(np.uint8)
    found, _ = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    rings = (cv2.approxPolyDP(ring, STAIR, closed=True)[:, 0] for ring in found)
    corner = (x - 1, y - 1)
    return [_rounded((ring + 0.5) / factor + corner) for ring in rings if len(ring) > 2]


def polygon_rings(segmentation: list | dict, size: tuple[int, int]) -> Rings:
    """Rings of an annotation's polygons, as they are, or of its RLE.

    Args:
        segmentation: COCO's.
        size: (H, W).
    """
    if isinstance(segmentation, dict):
        return outlines(compressed(segmentation, *size))
    return [_rounded(np.asarray(ring, float)) for ring in segmentation]


def _rounded(ring: np.ndarray) -> list[float]:
    return [round(float(value), 1) for value in np.ravel(ring)]

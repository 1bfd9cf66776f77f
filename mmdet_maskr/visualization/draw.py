"""Draws boxes, masks, skeletons and labels on an image; pure functions on arrays.

Symbols: N instances, K keypoints, H x W image size in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from mmdet_maskr.errors import UserError
from mmdet_maskr.visualization.labels import Texts, draw_label, place_labels, unit_of
from mmdet_maskr.visualization.skeleton import Color, Skeleton, draw_skeleton

MASK_ALPHA = 0.45
LEAST_SIDE = 384  # pixels of a picture; on smaller ones little can be seen
SMALL, LARGE = 40, 60  # sides of objects in a picture of 480 x 480, in pixels: thin and full lines
ROWS = 256  # of an image, that are blended with a mask at once


def draw_instances(
    image: np.ndarray,
    boxes: np.ndarray,
    masks: Sequence[np.ndarray] | np.ndarray | None,
    texts: Texts | Sequence[str],
    colors: Sequence[Color],
    keypoints: np.ndarray | None = None,
    skeleton: Skeleton | None = None,
    mask_alpha: float | None = None,
    mask_colors: Sequence[Color] | None = None,
    text_colors: Sequence[Color] | None = None,
    line_width: float | None = None,
) -> np.ndarray:
    """Draw instances on a copy of an image: masks with contours, boxes, skeletons, then labels.

    Sizes follow the image and each object: small objects have thin lines, light masks, no box
    around their mask, and a label only if they are larger than it and it covers no other object.

    Args:
        image: (H, W, 3) uint8, RGB or BGR as ``colors`` are.
        boxes: (N, 4) xyxy in pixels of ``image``.
        masks: N masks (H, W) bool or uint8, or None.
        texts: N labels; an empty one is left out.
        colors: N colors.
        keypoints: (N, K, 3) x, y and visibility (0 absent, 1 occluded, 2 visible) in pixels of
            ``image``, or None.
        skeleton: of K keypoints; needed where there are keypoints.
        mask_alpha: opacity of the masks, 0 to 1; None for 0.45, and less on small objects.
        mask_colors: N colors of the masks; None for ``colors``.
        text_colors: N colors of the letters; None for black or white, whichever can be read.
        line_width: of boxes and contours in pixels; None for one that grows with image and object.

    Returns:
        (H, W, 3) uint8.

    Raises:
        UserError: keypoints without a skeleton.
    """
    canvas = np.ascontiguousarray(image).copy()
    unit = unit_of(image.shape)
    areas = _areas(boxes)
    sides = np.sqrt(areas.clip(0)) / unit  # as in a picture of 480 x 480
    shares = np.clip(sides / LARGE, 0.3, 1)
    order = np.argsort(-areas, kind="stable")  # small ones last, so that none is covered
    masked = np.zeros(len(areas), bool)
    if masks is not None:
        painted = colors if mask_colors is None else mask_colors
        for i in order:
            width = 1.6 * unit * shares[i] if line_width is None else line_width
            alpha = MASK_ALPHA * min(max(sides[i] / SMALL, 0.5), 1)
            alpha = alpha if mask_alpha is None else mask_alpha
            mask = np.asarray(masks[i], np.uint8)
            masked[i] = mask.any()
            _draw_mask(canvas, mask, painted[i], max(1, round(width)), alpha)
    for i in order:
        if masked[i] and sides[i] < SMALL:
            continue  # it would hide what the mask shows
        width = 1.2 * unit * shares[i] if line_width is None else line_width
        x1, y1, x2, y2 = (round(float(value)) for value in boxes[i])
        thickness = max(1, round(width))
        cv2.rectangle(canvas, (x1, y1), (x2, y2), colors[i], thickness, cv2.LINE_AA)
    if keypoints is not None:
        if skeleton is None:
            raise UserError("draw_instances needs the skeleton of the keypoints.")
        for i in order:
            draw_skeleton(canvas, keypoints[i], skeleton, unit)
    for i, label in enumerate(place_labels(image.shape, boxes, texts)):
        if label is not None:
            ink = None if text_colors is None else text_colors[i]
            draw_label(canvas, label, colors[i], ink)
    return canvas


def enlarge(
    image: np.ndarray,
    boxes: np.ndarray,
    masks: Sequence[np.ndarray] | np.ndarray | None,
    keypoints: np.ndarray | None,
    short_side: int,
) -> tuple[np.ndarray, np.ndarray, Sequence[np.ndarray] | np.ndarray | None, np.ndarray | None]:
    """Enlarge a small image with its instances, by a whole factor, so that labels are readable.

    Args:
        image: (H, W, 3) uint8.
        boxes: (N, 4) xyxy.
        masks: N masks (H, W) bool or uint8, or None.
        keypoints: (N, K, 3) x, y, visibility, or None.
        short_side: the shorter side is at least this many pixels afterwards.

    Returns:
        Image, boxes, masks (uint8) and keypoints of the new size; the same ones where the image is
        large.
    """
    factor = enlargement(image, short_side)
    if factor == 1:
        return image, boxes, masks, keypoints
    size = (image.shape[1] * factor, image.shape[0] * factor)
    larger = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
    if masks is not None:
        smooth = [cv2.resize(np.asarray(mask, np.float32), size) >= 0.5 for mask in masks]
        masks = [mask.astype(np.uint8) for mask in smooth]
    if keypoints is not None:
        keypoints = keypoints * [factor, factor, 1]
    return larger, boxes * factor, masks, keypoints


def enlargement(image: np.ndarray, least_side: int) -> int:
    """The whole factor by which the shorter side of an image (H, W, 3) has ``least_side`` pixels or
    more; 1 for a large one."""
    return max(1, -(-least_side // min(image.shape[:2])))


def shown(image: np.ndarray) -> np.ndarray:
    """A picture of an image of any kind, as a model may be given it.

    Args:
        image: (H, W) or (H, W, C), BGR or other bands, of any type of number. One band is shown in
            gray, of more than three the first three. Numbers above 255 are scaled to the largest.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    image = image[..., None] if image.ndim == 2 else image
    bands = image[..., [0, 0, 0]] if image.shape[2] < 3 else image[..., 2::-1]
    if bands.dtype == np.uint8:
        return np.ascontiguousarray(bands)
    values = np.nan_to_num(bands.astype(np.float32), nan=0, posinf=0, neginf=0)
    largest = float(values.max(initial=0))
    if largest > 255.5:
        values = values * (255 / largest)
    return values.clip(0, 255).astype(np.uint8)


def _areas(boxes: np.ndarray) -> np.ndarray:
    boxes = np.asarray(boxes, float).reshape(-1, 4)
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _draw_mask(
    canvas: np.ndarray, mask: np.ndarray, color: Color, thickness: int, alpha: float
) -> None:
    # By a table and a few rows at a time: floating-point numbers would take many times the image.
    levels = np.arange(256)[:, None]
    table = ((1 - alpha) * levels + alpha * np.asarray(color, float)).round().astype(np.uint8)
    x, y, width, height = cv2.boundingRect(mask)  # most masks are a small part of the image
    mask, inside = mask[y : y + height, x : x + width], canvas[y : y + height, x : x + width]
    for start in range(0, height, ROWS):
        part = slice(start, start + ROWS)
        blended = cv2.LUT(inside[part], table[:, None])
        np.copyto(inside[part], blended, where=mask[part, :, None].astype(bool))
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(x, y))
    if thickness > 1:
        halo = thickness + max(1, round(0.6 * thickness))
        cv2.drawContours(canvas, contours, -1, (255, 255, 255), halo, cv2.LINE_AA)
    cv2.drawContours(canvas, contours, -1, color, thickness, cv2.LINE_AA)

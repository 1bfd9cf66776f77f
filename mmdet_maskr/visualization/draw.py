"""Boxes, masks, skeletons and labels drawn on an image; pure functions on arrays.

Symbols: N instances, K keypoints, H x W image size in pixels.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence

import cv2
import matplotlib.colors
import numpy as np

from mmdet_maskr.errors import UserError
from mmdet_maskr.visualization.skeleton import Colour, Skeleton, draw_skeleton

MASK_ALPHA = 0.45
LEAST_FONT_SCALE = 0.3  # letters below some six pixels cannot be read
ROWS = 256  # of an image, that are blended with a mask at once
FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_instances(
    image: np.ndarray,
    boxes: np.ndarray,
    masks: Sequence[np.ndarray] | np.ndarray | None,
    texts: Sequence[str],
    colours: Sequence[Colour],
    keypoints: np.ndarray | None = None,
    skeleton: Skeleton | None = None,
    mask_alpha: float = MASK_ALPHA,
    mask_colours: Sequence[Colour] | None = None,
    text_colours: Sequence[Colour] | None = None,
    line_width: float | None = None,
) -> np.ndarray:
    """Draw instances on a copy of an image: masks with contours, boxes, skeletons, then labels.

    Args:
        image: (H, W, 3) uint8, RGB or BGR as ``colours`` are.
        boxes: (N, 4) xyxy in pixels of ``image``.
        masks: N masks (H, W) bool or uint8, or None.
        texts: N labels; an empty one is left out.
        colours: N colours.
        keypoints: (N, K, 3) x, y and visibility (0 absent, 1 occluded, 2 visible) in pixels of
            ``image``, or None.
        skeleton: of K keypoints; needed where there are keypoints.
        mask_alpha: opacity of the masks, 0 to 1.
        mask_colours: N colours of the masks; None for ``colours``.
        text_colours: N colours of the letters; None for black or white, whichever can be read.
        line_width: of boxes and contours in pixels; None for one that grows with the image.

    Returns:
        (H, W, 3) uint8.

    Raises:
        UserError: keypoints without a skeleton.
    """
    canvas = np.ascontiguousarray(image).copy()
    unit = math.sqrt(image.shape[0] * image.shape[1]) / 480  # lines and letters grow with the image
    order = np.argsort(-_areas(boxes), kind="stable")  # small ones last, so that none is covered
    if masks is not None:
        painted = colours if mask_colours is None else mask_colours
        thickness = max(1, round(1.6 * unit if line_width is None else line_width))
        for i in order:
            _draw_mask(canvas, np.asarray(masks[i], np.uint8), painted[i], thickness, mask_alpha)
    thickness = max(1, round(1.2 * unit if line_width is None else line_width))
    for i in order:
        x1, y1, x2, y2 = (round(float(value)) for value in boxes[i])
        cv2.rectangle(canvas, (x1, y1), (x2, y2), colours[i], thickness, cv2.LINE_AA)
    if keypoints is not None:
        if skeleton is None:
            raise UserError("draw_instances needs the skeleton of the keypoints.")
        for i in order:
            draw_skeleton(canvas, keypoints[i], skeleton, unit)
    taken: list[tuple[int, int, int, int]] = []
    for i in order[::-1]:
        if texts[i]:
            ink = None if text_colours is None else text_colours[i]
            taken.append(_draw_label(canvas, boxes[i], texts[i], colours[i], unit, taken, ink))
    return canvas


def enlarge(
    image: np.ndarray,
    boxes: np.ndarray,
    masks: Sequence[np.ndarray] | np.ndarray | None,
    keypoints: np.ndarray | None,
    short_side: int,
) -> tuple[np.ndarray, np.ndarray, Sequence[np.ndarray] | np.ndarray | None, np.ndarray | None]:
    """Enlarge a small image with its instances so that labels are readable.

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
    factor = max(1.0, short_side / min(image.shape[:2]))
    if factor == 1:
        return image, boxes, masks, keypoints
    size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
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


def class_colours(palette: Sequence[Colour | str] | str | None, num_classes: int) -> list[Colour]:
    """A colour for each class, always the same ones.

    Args:
        palette: RGB colours, as numbers from 0 to 255 or as texts ('#ff8000', 'red'); 'random' or
            None for distinct colours by the class's number, which classes beyond the palette get
            too.
        num_classes: how many.

    Raises:
        UserError: an entry of the palette that is no colour.
    """
    given = [] if palette is None or isinstance(palette, str) else list(palette)[:num_classes]
    colours = [colour_of(colour) for colour in given]
    for i in range(len(colours), num_classes):
        hue = (0.02 + i * 0.618034) % 1  # golden section: neighbours are far apart
        red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, 0.9)
        colours.append((round(255 * red), round(255 * green), round(255 * blue)))
    return colours


def colour_of(value: Sequence[float] | str) -> Colour:
    """RGB from 0 to 255 of three numbers, or of a text as matplotlib takes it.

    Raises:
        UserError: it is no colour.
    """
    try:
        if isinstance(value, str):
            red, green, blue = (round(255 * part) for part in matplotlib.colors.to_rgb(value))
        else:
            red, green, blue = (int(part) for part in value)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"metainfo['palette'] has {value!r}, which is no colour: three numbers from 0 to 255, "
            "or a text such as '#ff8000'."
        ) from error
    return red, green, blue


def shown(image: np.ndarray) -> np.ndarray:
    """A picture of an image of any kind, as a model may be given it.

    Args:
        image: (H, W) or (H, W, C), BGR or other bands, of any type of number. One band is shown in
            grey, of more than three the first three. Numbers above 255 are scaled to the largest.

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
    canvas: np.ndarray, mask: np.ndarray, colour: Colour, thickness: int, alpha: float
) -> None:
    # By a table and a few rows at a time: floating-point numbers would take many times the image.
    levels = np.arange(256)[:, None]
    table = ((1 - alpha) * levels + alpha * np.asarray(colour, float)).round().astype(np.uint8)
    rows = np.flatnonzero(mask.any(axis=1))
    for start in range(rows[0], rows[-1] + 1, ROWS) if len(rows) else ():
        part = slice(start, min(start + ROWS, rows[-1] + 1))
        blended = cv2.LUT(canvas[part], table[:, None])
        np.copyto(canvas[part], blended, where=mask[part, :, None].astype(bool))
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if thickness > 1:
        halo = thickness + max(1, round(0.6 * thickness))
        cv2.drawContours(canvas, contours, -1, (255, 255, 255), halo, cv2.LINE_AA)
    cv2.drawContours(canvas, contours, -1, colour, thickness, cv2.LINE_AA)


def _draw_label(
    canvas: np.ndarray,
    box: np.ndarray,
    text: str,
    colour: Colour,
    unit: float,
    taken: list[tuple[int, int, int, int]],
    ink: Colour | None = None,
) -> tuple[int, int, int, int]:
    """Draw a label at its box where no other label is, or least of others; returns its xyxy."""
    scale, pad = max(0.42 * unit, LEAST_FONT_SCALE), max(2, round(3 * unit))
    thickness = max(1, round(unit))
    (width, height), baseline = cv2.getTextSize(text, FONT, scale, thickness)
    width, height = width + 2 * pad, height + baseline + pad
    x1, y1, x2, y2 = (round(float(value)) for value in box)
    left, right = x1, x2 - width
    tops = (y1 - height, y1, y2, y2 - height, y1 - 2 * height, y2 + height)
    corners = [(left, tops[0]), (left, y1), (left, y2), (right, y2 - height)]  # the best first
    corners += [(x, y) for x in (left, right, x1 - width, x2) for y in tops]
    places = [_into(canvas, x, y, width, height) for x, y in corners]
    place = min(places, key=lambda p: sum(_overlap(p, other) for other in taken))  # the first such
    cv2.rectangle(canvas, place[:2], place[2:], colour, cv2.FILLED)
    if ink is None:
        light = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 140
        ink = (0, 0, 0) if light else (255, 255, 255)
    at = (place[0] + pad, place[3] - baseline)
    cv2.putText(canvas, text, at, FONT, scale, ink, thickness, cv2.LINE_AA)
    return place


def _into(canvas: np.ndarray, x: int, y: int, width: int, height: int) -> tuple[int, int, int, int]:
    x = max(0, min(x, canvas.shape[1] - width))
    y = max(0, min(y, canvas.shape[0] - height))
    return x, y, x + width, y + height


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> int:
    """Common pixels of two rectangles."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0)

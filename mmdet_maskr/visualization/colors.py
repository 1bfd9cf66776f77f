"""Colors of classes, and of instances where the class does not tell them apart."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import matplotlib.colors
import numpy as np
import pycocotools.mask

from mmdet_maskr.coco.form import to_sides
from mmdet_maskr.errors import UserError
from mmdet_maskr.visualization.skeleton import Color

# Twelve that are told apart on dark and on light images.
INSTANCE_COLORS: tuple[Color, ...] = (
    (255, 99, 71), (64, 200, 255), (255, 215, 0), (190, 110, 255), (60, 220, 110), (255, 130, 200),
    (255, 150, 40), (80, 130, 255), (190, 230, 60), (0, 215, 200), (235, 70, 130), (205, 160, 110),
)  # fmt: skip
NO_ID: Color = (160, 160, 160)
NEAR = 0.5  # of the smaller box's side: instances with a gap below it are neighbors
SAME = 0.5  # IoU of boxes from which two sides of a picture show the same object


def colored_by_instance(palette: object, num_classes: int) -> bool:
    """Whether instances get colors of their own: there is one class, and nobody chose its color.

    Datasets of one class inherit COCO's palette of eighty; that is not a choice.
    """
    chosen = isinstance(palette, str) or (palette is not None and len(palette) == num_classes)  # type: ignore[arg-type]
    return num_classes == 1 and (palette == "random" or not chosen)


def instance_colors(
    boxes: np.ndarray, known: tuple[np.ndarray, Sequence[Color]] | None = None
) -> list[Color]:
    """A color for each instance, other than those of its neighbors as far as twelve colors go.

    Args:
        boxes: (N, 4) xyxy.
        known: boxes (M, 4) that have their colors, as those of the ground truth next to
            predictions: a box that is the same object (IoU from 0.5) takes its color.

    Returns:
        N colors of :data:`INSTANCE_COLORS`.
    """
    boxes = np.asarray(boxes, float).reshape(-1, 4)
    chosen = np.full(len(boxes), -1)
    if known is not None:
        chosen = _inherited(boxes, *known)
    sides = boxes[:, 2:] - boxes[:, :2]
    margin = NEAR * sides.min(axis=1, initial=np.inf) / 2
    low, high = boxes[:, :2] - margin[:, None], boxes[:, 2:] + margin[:, None]
    for i in range(len(boxes)):
        if chosen[i] >= 0:
            continue
        near = (low < high[i]).all(1) & (high > low[i]).all(1) & (chosen >= 0)
        used = np.bincount(chosen[near], minlength=len(INSTANCE_COLORS))
        turned = np.roll(used, -(i % len(used)))  # begin elsewhere, so that all are in use
        chosen[i] = (int(turned.argmin()) + i) % len(used)
    return [INSTANCE_COLORS[i] for i in chosen]


def id_colors(ids: Sequence[int]) -> list[Color]:
    """The color of each id of a video, in every frame the same; gray for -1, which is none."""
    return [NO_ID if i < 0 else INSTANCE_COLORS[i % len(INSTANCE_COLORS)] for i in ids]


def _inherited(boxes: np.ndarray, others: np.ndarray, colors: Sequence[Color]) -> np.ndarray:
    """(N,) place of the color of the same object among others, each given once, or -1."""
    chosen = np.full(len(boxes), -1)
    if not len(boxes) or not len(others):
        return chosen
    sides = [to_sides(np.asarray(part, float).reshape(-1, 4)) for part in (boxes, others)]
    overlaps = pycocotools.mask.iou(*sides, np.zeros(len(others), np.uint8))
    pairs = np.argwhere(overlaps >= SAME)
    free = np.ones(len(others), bool)
    for i, j in pairs[np.argsort(-overlaps[tuple(pairs.T)], kind="stable")]:
        if chosen[i] < 0 and free[j] and colors[j] in INSTANCE_COLORS:
            chosen[i], free[j] = INSTANCE_COLORS.index(colors[j]), False
    return chosen


def class_colors(palette: Sequence[Color | str] | str | None, num_classes: int) -> list[Color]:
    """A color for each class, always the same ones.

    Args:
        palette: RGB colors, as numbers from 0 to 255 or as texts ('#ff8000', 'red'); 'random' or
            None for distinct colors by the class's number, which classes beyond the palette get
            too.
        num_classes: how many.

    Raises:
        UserError: an entry of the palette that is no color.
    """
    given = [] if palette is None or isinstance(palette, str) else list(palette)[:num_classes]
    colors = [color_of(color) for color in given]
    for i in range(len(colors), num_classes):
        hue = (0.02 + i * 0.618034) % 1  # golden section: neighbors are far apart
        red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, 0.9)
        colors.append((round(255 * red), round(255 * green), round(255 * blue)))
    return colors


def color_of(value: Sequence[float] | str) -> Color:
    """RGB from 0 to 255 of three numbers, or of a text as matplotlib takes it.

    Raises:
        UserError: it is no color.
    """
    try:
        if isinstance(value, str):
            red, green, blue = (round(255 * part) for part in matplotlib.colors.to_rgb(value))
        else:
            red, green, blue = (int(part) for part in value)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"metainfo['palette'] has {value!r}, which is not a color: use three numbers "
            "from 0 to 255, or a string such as '#ff8000'."
        ) from error
    return red, green, blue


def ink_on(color: Color) -> Color:
    """Black or white, whichever can be read on a color."""
    light = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 140
    return (0, 0, 0) if light else (255, 255, 255)

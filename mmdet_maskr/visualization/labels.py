"""Labels where they fit, and a legend for the rest."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from mmdet_maskr.visualization.colors import ink_on
from mmdet_maskr.visualization.skeleton import Color

FONT = cv2.FONT_HERSHEY_SIMPLEX
LEAST_FONT_SCALE = 0.3  # letters below some six pixels cannot be read
SCORE_ROOM = 10.0  # of an object whose class goes without saying, for its score
MOST_COVERED = 0.25  # of another object, by a label
PAPER, INK = (255, 255, 255), (40, 40, 40)

Rectangle = tuple[int, int, int, int]  # xyxy, whole pixels


class Texts(NamedTuple):
    """What is written at N instances.

    Args:
        full: N labels; an empty one is left out.
        short: N labels for where there is no room for the full ones.
        room: an object is labeled if its box has so many times the label's area.
    """

    full: Sequence[str]
    short: Sequence[str]
    room: float = 1.0


class Label(NamedTuple):
    """A text in its rectangle; ``origin`` is where its letters begin on the base line."""

    text: str
    place: Rectangle
    origin: tuple[int, int]
    scale: float
    thickness: int


def texts_of(
    names: Sequence[str],
    scores: Sequence[float] | None,
    one_class: bool,
    ids: Sequence[int] | None = None,
) -> Texts:
    """What is written at instances: class and score; where there is one class, the score alone,
    and that only on large objects. The id in a video (-1 for none) stands after the class."""
    values = [""] * len(names) if scores is None else [f"{score:.2f}" for score in scores]
    if ids is not None:
        marks = ["" if number < 0 else f"#{number}" for number in ids]
        kinds = [""] * len(marks) if one_class else names
        names = [f"{kind} {mark}".strip() for kind, mark in zip(kinds, marks, strict=True)]
    elif one_class:
        return Texts(values, values, SCORE_ROOM)
    full = [f"{name} {value}".strip() for name, value in zip(names, values, strict=True)]
    return Texts(full, names)


def unit_of(shape: Sequence[int]) -> float:
    """Pixels of a thin line on an image of ``shape`` (H, W, ...): all sizes grow with the image."""
    return math.sqrt(shape[0] * shape[1]) / 480


def place_labels(
    shape: Sequence[int], boxes: np.ndarray, texts: Texts | Sequence[str]
) -> list[Label | None]:
    """Where labels stand: clear of one another, and covering no other object.

    Letters are smaller on small objects. An object that is smaller than its label has none.

    Args:
        shape: (H, W, ...) of the picture in pixels.
        boxes: (N, 4) xyxy.
        texts: of the N instances; a list of texts stands for both forms.

    Returns:
        N labels; None where there is no text or no room.
    """
    if not isinstance(texts, Texts):
        texts = Texts(texts, texts)
    boxes = np.asarray(boxes, float).reshape(-1, 4)
    sides = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None)
    areas = sides.prod(1)
    unit = unit_of(shape)
    labels: list[Label | None] = [None] * len(boxes)
    taken: list[Rectangle] = []
    for i in np.argsort(areas, kind="stable"):  # small ones have the least choice
        for text in dict.fromkeys((texts.full[i], texts.short[i])):
            if text:
                size = _measured(text, unit, float(sides[i].min()))
                label = _placed(size, shape, boxes, areas, int(i), taken, texts.room)
                if label is not None:
                    labels[i] = label
                    taken.append(label.place)
                    break
    return labels


def draw_label(canvas: np.ndarray, label: Label, color: Color, ink: Color | None = None) -> None:
    """Draw a label into ``canvas`` (H, W, 3); ``ink`` None is black or white."""
    x1, y1, x2, y2 = label.place
    cv2.rectangle(canvas, (x1, y1), (x2 - 1, y2 - 1), color, cv2.FILLED)
    ink = ink_on(color) if ink is None else ink
    cv2.putText(
        canvas, label.text, label.origin, FONT, label.scale, ink, label.thickness, cv2.LINE_AA
    )


def legend(
    width: int, title: str, entries: Sequence[tuple[str, Color | None, int]], unit: float = 1.0
) -> np.ndarray:
    """A white strip with what colors mean, to stand under a picture.

    Args:
        width: pixels.
        title: the first words.
        entries: for each class its name, its color (None where instances have their own) and how
            many there are.
        unit: pixels of a thin line.

    Returns:
        (h, width, 3) uint8, of as many lines as it takes.
    """
    unit = min(max(unit, 0.8), width / 240)  # a narrow picture has letters that fit
    scale, thickness, pad = 0.45 * unit, max(1, round(unit)), max(3, round(6 * unit))
    line = cv2.getTextSize("Ag", FONT, scale, thickness)[0][1] + 2 * pad
    items: list[tuple[str, Color | None]] = [(title, None)] if title else []
    items += [(f"{name} {count}", color) for name, color, count in entries]
    rows: list[list[tuple[int, str, Color | None]]] = [[]]
    x = pad
    for text, color in items:
        swatch = 0 if color is None else line - pad
        text = _shortened(text, scale, thickness, width - 2 * pad - swatch)
        taken = cv2.getTextSize(text, FONT, scale, thickness)[0][0] + swatch
        if rows[-1] and x + taken > width - pad:
            rows.append([])
            x = pad
        rows[-1].append((x, text, color))
        x += taken + 3 * pad
    strip = np.full((len(rows) * line + pad, width, 3), PAPER, np.uint8)
    for number, row in enumerate(rows):
        base = number * line + line - pad + pad // 2
        for x, text, color in row:
            if color is not None:
                side = line - 2 * pad
                cv2.rectangle(strip, (x, base - side), (x + side, base), color, cv2.FILLED)
                x += line - pad
            cv2.putText(strip, text, (x, base), FONT, scale, INK, thickness, cv2.LINE_AA)
    return strip


def entries_of(
    names: Sequence[str], colors: Sequence[Color | None]
) -> list[tuple[str, Color | None, int]]:
    """Entries of a legend from N instances' names and colors, the most frequent class first."""
    color = dict(zip(names, colors, strict=True))
    return [(name, color[name], count) for name, count in Counter(names).most_common()]


class _Size(NamedTuple):
    text: str
    width: int
    height: int
    baseline: int
    pad: int
    scale: float
    thickness: int


def _measured(text: str, unit: float, side: float) -> _Size:
    """The rectangle of a label at an object whose shorter side is so many pixels."""
    share = min(max(side / (60 * unit), 0.7), 1.0)
    scale, pad = max(0.42 * unit * share, LEAST_FONT_SCALE), max(2, round(3 * unit * share))
    thickness = max(1, round(unit * share))
    (width, height), baseline = cv2.getTextSize(text, FONT, scale, thickness)
    return _Size(
        text, width + 2 * pad, height + baseline + pad, baseline, pad, scale, thickness
    )  # fmt: skip


def _placed(
    size: _Size,
    shape: Sequence[int],
    boxes: np.ndarray,
    areas: np.ndarray,
    own: int,
    taken: Sequence[Rectangle],
    room: float,
) -> Label | None:
    """The best place for a label at its box, or None."""
    width, height = size.width, size.height
    if areas[own] < room * width * height or width > shape[1] or height > shape[0]:
        return None
    x1, y1, x2, y2 = (round(float(value)) for value in boxes[own])
    left, right = x1, x2 - width
    tops = (y1 - height, y1, y2, y2 - height, y1 - 2 * height, y2 + height)
    corners = [(left, tops[0]), (left, y1), (left, y2), (right, y2 - height)]  # the best first
    corners += [(x, y) for x in (left, right, x1 - width, x2) for y in tops]
    allowed = MOST_COVERED * areas
    allowed[own] = np.inf
    for x, y in corners:
        x, y = max(0, min(x, shape[1] - width)), max(0, min(y, shape[0] - height))
        place = (x, y, x + width, y + height)
        if any(_apart(place, other) is False for other in taken):
            continue
        low, high = np.maximum(boxes[:, :2], place[:2]), np.minimum(boxes[:, 2:], place[2:])
        if (np.clip(high - low, 0, None).prod(1) <= allowed).all():
            origin = (x + size.pad, y + height - size.baseline)
            return Label(size.text, place, origin, size.scale, size.thickness)
    return None


def _apart(a: Rectangle, b: Rectangle) -> bool:
    return a[0] >= b[2] or b[0] >= a[2] or a[1] >= b[3] or b[1] >= a[3]


def _shortened(text: str, scale: float, thickness: int, width: int) -> str:
    """A text that is at most so wide, with an ellipsis where it is cut."""
    if cv2.getTextSize(text, FONT, scale, thickness)[0][0] <= width:
        return text
    while len(text) > 1 and cv2.getTextSize(f"{text}...", FONT, scale, thickness)[0][0] > width:
        text = text[:-1]
    return f"{text}..."

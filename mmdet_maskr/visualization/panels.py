"""Pictures of one or two panels: an image with its instances, and a legend under each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mmdet_maskr.visualization.colors import class_colors, colored_by_instance, instance_colors
from mmdet_maskr.visualization.draw import LEAST_SIDE, draw_instances, enlarge, enlargement
from mmdet_maskr.visualization.labels import (
    PAPER,
    Texts,
    entries_of,
    legend,
    place_labels,
    texts_of,
    unit_of,
)
from mmdet_maskr.visualization.skeleton import Color, make_skeleton

GAP = 8  # white pixels between panels


@dataclass
class Panel:
    """What is drawn on an image.

    Args:
        title: 'ground truth', 'prediction'; of a single panel, ''.
        boxes: (N, 4) xyxy in pixels of the image.
        names: N, of the classes.
        texts: of the labels.
        colors: N.
        by_instance: whether colors are the instances' own, and say nothing of classes.
        masks: N masks (H, W) uint8, or None.
        keypoints: (N, K, 3) x, y, visibility, or None.
    """

    title: str
    boxes: np.ndarray
    names: Sequence[str]
    texts: Texts
    colors: Sequence[Color]
    by_instance: bool
    masks: Sequence[np.ndarray] | np.ndarray | None = None
    keypoints: np.ndarray | None = None


def make_panel(
    title: str,
    boxes: np.ndarray,
    labels: Sequence[int],
    meta: Mapping,
    scores: Sequence[float] | None = None,
    masks: Sequence[np.ndarray] | np.ndarray | None = None,
    keypoints: np.ndarray | None = None,
    next_to: Panel | None = None,
) -> Panel:
    """A panel with the colors and labels that a dataset's metainfo asks for.

    Args:
        title: see :class:`Panel`.
        boxes: (N, 4) xyxy.
        labels: N numbers of classes.
        meta: with ``classes`` and perhaps ``palette``.
        scores: N, of predictions.
        masks: N masks (H, W), or None.
        keypoints: (N, K, 3), or None.
        next_to: the panel on its left, whose objects have the same colors here.
    """
    classes, palette = meta["classes"], meta.get("palette")
    boxes = np.asarray(boxes, float).reshape(-1, 4)
    names = [classes[label] for label in labels]
    by_instance = colored_by_instance(palette, len(classes))
    if by_instance:
        known = None if next_to is None else (next_to.boxes, next_to.colors)
        colors = instance_colors(boxes, known)
    else:
        every = class_colors(palette, len(classes))
        colors = [every[label] for label in labels]
    texts = texts_of(names, scores, len(classes) == 1)
    return Panel(title, boxes, names, texts, colors, by_instance, masks, keypoints)


def draw_panels(
    image: np.ndarray,
    panels: Sequence[Panel],
    meta: Mapping,
    least_side: int = LEAST_SIDE,
    with_legend: bool = True,
) -> np.ndarray:
    """Panels of one image next to one another, each with its legend.

    Args:
        image: (H, W, 3) uint8 RGB.
        panels: one or more.
        meta: with the skeleton of keypoints, see :func:`.make_skeleton`.
        least_side: see :func:`.enlarge`.
        with_legend: False for the panels alone.

    Returns:
        The picture, uint8 RGB; a single panel whose labels all have room has no legend.
    """
    drawn = []
    for panel in panels:
        larger, boxes, masks, points = enlarge(
            image, panel.boxes, panel.masks, panel.keypoints, least_side
        )
        skeleton = None if points is None else make_skeleton(meta, points.shape[1])
        drawn.append(
            draw_instances(larger, boxes, masks, panel.texts, panel.colors, points, skeleton)
        )
    strips = legends(image.shape, panels, enlargement(image, least_side)) if with_legend else []
    if strips:
        drawn = [np.vstack(both) for both in zip(drawn, strips, strict=True)]
    return np.hstack([with_gap(picture) for picture in drawn[:-1]] + drawn[-1:])


def legends(shape: Sequence[int], panels: Sequence[Panel], factor: int = 1) -> list[np.ndarray]:
    """A strip for each panel, all of one height; none for a single one that has all its labels.

    Args:
        shape: (H, W, ...) of the image.
        panels: in its pixels.
        factor: by which it is drawn enlarged.
    """
    shape = (factor * shape[0], factor * shape[1])
    strips, unlabeled = [], False
    for panel in panels:
        placed = place_labels(shape, factor * panel.boxes, panel.texts)
        unlabeled |= any(label is None for label in placed)
        colors = [None] * len(panel.names) if panel.by_instance else panel.colors
        entries = entries_of(panel.names, colors)
        strips.append(legend(shape[1], panel.title, entries, unit_of(shape)))
    if len(panels) == 1 and not unlabeled:
        return []
    height = max((len(strip) for strip in strips), default=0)
    return [
        np.pad(strip, ((0, height - len(strip)), (0, 0), (0, 0)), constant_values=PAPER[0])
        for strip in strips
    ]


def with_gap(picture: np.ndarray) -> np.ndarray:
    """A panel (H, W, 3) with white on its right, for another one."""
    return np.pad(picture, ((0, 0), (0, GAP), (0, 0)), constant_values=PAPER[0])

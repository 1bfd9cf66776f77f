"""What of images and instances can be drawn: any number of bands, boxes that are finite."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmdet.structures.bbox import get_box_tensor
from mmdet.visualization import get_palette
from mmengine.logging import print_log
from mmengine.structures import InstanceData

from mmdet_maskr.errors import UserError
from mmdet_maskr.visualization.colors import class_colors
from mmdet_maskr.visualization.draw import shown
from mmdet_maskr.visualization.skeleton import Color, with_visibility

FAR = 1e6  # pixels; what is farther away is drawn there, as OpenCV's whole numbers end
MOST_COLORS = 4096  # labels farther on take them again


def picture_of(image: object) -> np.ndarray:
    """An image that can be drawn on.

    Args:
        image: (H, W) gray, (H, W, 1 or 2), of which the first band is shown in gray, or
            (H, W, 3 or more), of which the first three are red, green and blue.

    Returns:
        (H, W, 3) uint8 RGB; the same array where it is one already.

    Raises:
        UserError: it is no such array.
    """
    if not isinstance(image, np.ndarray) or image.ndim not in (2, 3) or 0 in image.shape:
        what = getattr(image, "shape", None)
        what = type(image).__name__ if what is None else f"one of shape {tuple(what)}"
        raise UserError(
            f"the visualizer got {what} as the image: it must be a NumPy array of height "
            "and width, or of height, width and bands."
        )
    if image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8:
        return image
    return shown(image[..., 2::-1] if image.ndim == 3 and image.shape[2] > 2 else image)


def drawable(instances: InstanceData, kind: str) -> InstanceData:
    """The instances whose boxes are finite; how many are not is logged.

    Args:
        instances: on the CPU.
        kind: what they are, for the log.
    """
    if "bboxes" not in instances or len(instances) == 0:
        return instances
    finite = torch.isfinite(torch.as_tensor(get_box_tensor(instances.bboxes))).all(dim=1)
    if finite.all():
        return instances
    print_log(
        f"{int((~finite).sum())} of {len(finite)} boxes of the {kind} are not drawn, "
        "because their coordinates are not finite.",
        logger="current",
        level=logging.WARNING,
    )
    return instances[finite.nonzero()[:, 0]]


def points_of(instances: InstanceData, threshold: float) -> np.ndarray | None:
    """Keypoints (N, K, 3): x, y, visibility; None where instances have none.

    Args:
        instances: on the CPU.
        threshold: predicted keypoints with a lower score are absent, as are those whose place is
            not finite.
    """
    if "keypoints" not in instances:
        return None
    points = np.asarray(instances.keypoints, float)
    if "keypoint_scores" in instances:
        points = with_visibility(points, instances.keypoint_scores, threshold)
    placed = np.isfinite(points).all(axis=2, keepdims=True)
    return np.where(placed, points.clip(-FAR, FAR), 0.0)


def names_of(labels: Sequence[int], classes: Sequence[str] | None) -> list[str]:
    """The class of each label; of one that there is no class for, its number."""
    known = classes or ()
    return [known[label] if 0 <= label < len(known) else f"class {label}" for label in labels]


def colors_of(labels: Sequence[int], palette: Sequence[Color] | str | None) -> list[Color]:
    """A color for each label, also for one beyond the palette.

    Args:
        labels: whole numbers.
        palette: RGB colors by label, a name as mmdet's visualizer takes it ('coco', 'voc', a
            color's name), or None for distinct colors.
    """
    places = [label % MOST_COLORS for label in labels]
    count = max(places, default=-1) + 1
    if isinstance(palette, str) and palette != "random":
        try:
            palette = get_palette(palette, count)
        except AssertionError:  # it has fewer
            palette = get_palette(palette, 0)
    colors = class_colors(palette, count)
    return [colors[place] for place in places]


def given_colors(color: Any, instances: InstanceData) -> list[Color] | None:
    """The color of each instance that an option names; None where it does not.

    Args:
        color: one color, or what :func:`colors_of` takes for a palette.
        instances: with labels.
    """
    if color is None:
        return None
    labels = instances.labels.tolist()
    if isinstance(color, tuple):
        red, green, blue = map(int, color)
        return [(red, green, blue)] * len(labels)
    return colors_of(labels, color)

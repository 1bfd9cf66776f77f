"""The size that an image is resized to, rounded as each codebase does; without any library."""

from __future__ import annotations

import math
from collections.abc import Sequence

CODEBASES = ("mmdet", "detectron2", "torchvision")


def resized_shape(
    height: int, width: int, scale: Sequence[float], codebase: str
) -> tuple[int, int]:
    """(height, width) of an image resized to fit ``scale`` with its ratio kept; each at least 1.

    Args:
        height: of the image.
        width: of the image.
        scale: longest and shortest side, in any order.
        codebase: one of :data:`CODEBASES`.
    """
    longest, shortest = max(scale), min(scale)
    if codebase == "detectron2":
        factor = shortest / min(height, width)
        sides = [factor * height, factor * width]
        sides[0 if height < width else 1] = shortest
        if max(sides) > longest:
            factor = longest / max(sides)  # in this order, on which the rounding depends
            sides = [side * factor for side in sides]
    else:
        factor = min(shortest / min(height, width), longest / max(height, width))
        sides = [height * factor, width * factor]
    half = 0.0 if codebase == "torchvision" else 0.5  # rounds down
    new_height, new_width = (max(1, math.floor(side + half)) for side in sides)
    return new_height, new_width

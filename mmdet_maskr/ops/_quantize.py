"""The rounding of RoI boundaries that RoIPool and RoIWarp have in common."""

from __future__ import annotations

import torch
from torch import Tensor

FAR = float(2**30)  # beyond any map; int64 products of such numbers do not overflow


def quantize_boxes(rois: Tensor, spatial_scale: float | Tensor) -> Tensor:
    """Boxes rounded to whole pixels of the feature map, as Fast R-CNN's Caffe layer does.

    Corners go to ``round(x * scale)``, halves away from zero, and the last pixel belongs to the
    box: a box covers ``round(x2 * scale) - round(x1 * scale) + 1 >= 1`` pixels.

    Args:
        rois: (N, 5), image index, x1, y1, x2, y2 in pixels of the image.
        spatial_scale: a number, or (N, 1).

    Returns:
        (N, 4) whole numbers x1, y1, x2, y2 in the RoIs' type: the box is [x1, x2) x [y1, y2).
    """
    scaled = (rois[:, 1:] * spatial_scale).clamp(-FAR, FAR)
    # floor(|x| + 0.5) would round 0.49999997 up in float32
    magnitude = scaled.abs()
    below = magnitude.floor()
    rounded = (below + (magnitude - below >= 0.5)) * scaled.sign()
    return torch.cat([rounded[:, :2], rounded[:, 2:] + 1], dim=1)

"""Detectron2's conventions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import mmcv
import numpy as np
import torch
from torch import Tensor

from mmdet_maskr.conventions.base import Convention
from mmdet_maskr.image_sizes import resized_shape


class Detectron2(Convention):
    """What is not finite is dropped first, and of the best detections those without area last.

    Images are resized by PIL's antialiased bilinear filter on 8 bits, to sizes rounded to the
    nearest. Anchors are computed in float64, ratios vary fastest.
    """

    name = "detectron2"
    drops_not_finite = True
    drops_empty = True
    exportable = True

    def roi_level(self, scale: Tensor, size: float, level: int, finest: int) -> Tensor:
        return torch.floor(level + torch.log2(scale / size + 1e-8)) - finest

    def anchors(self, sizes: Sequence[float], ratios: Tensor) -> Tensor:
        anchors = []
        for size in sizes:
            for ratio in ratios.tolist():
                width = math.sqrt(size**2.0 / ratio)
                height = ratio * width
                anchors.append([-width / 2, -height / 2, width / 2, height / 2])
        return torch.tensor(anchors)

    def resized_shape(self, height: int, width: int, scale: tuple[int, int]) -> tuple[int, int]:
        return resized_shape(height, width, scale, "detectron2")

    def resize(self, image: np.ndarray, height: int, width: int) -> np.ndarray:
        return mmcv.imresize(image, (width, height), backend="pillow")

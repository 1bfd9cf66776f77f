"""torchvision's conventions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmdet_maskr.conventions.base import Convention
from mmdet_maskr.image_sizes import resized_shape
from mmdet_maskr.ops.mask_resize import resized_crops


class Torchvision(Convention):
    """Logits choose the best of each level, and their sigmoids are ranked from there on.

    Sides of at least the smallest are kept: ``min_bbox_size`` is 1e-3 for its proposals and 0.01
    for its detections. Masks are resized to boxes of whole pixels. Images are sampled without
    antialiasing and stay float32; their sizes are rounded down. Anchors are rounded to whole
    pixels, sizes vary fastest, and a level's stride is the padded image divided by the map, rounded
    down: at 416 pixels and stride 64, 59.
    """

    name = "torchvision"
    smallest_side = 0
    crops = staticmethod(resized_crops)

    def roi_level(self, scale: Tensor, size: float, level: int, finest: int) -> Tensor:
        return torch.floor(level + torch.log2(scale / size) + 1e-6) - finest

    def rank_again(self, ranks: Tensor) -> Tensor:
        return ranks.sigmoid()

    def probabilities(self, ranks: Tensor) -> Tensor:
        return ranks

    def are_large(self, sides: Tensor, smallest: float) -> Tensor:
        return sides >= smallest

    def anchors(self, sizes: Sequence[float], ratios: Tensor) -> Tensor:
        heights = torch.sqrt(ratios)
        widths = 1 / heights
        scales = torch.tensor(sizes, dtype=torch.float32)
        half_w = (widths[:, None] * scales).flatten() / 2
        half_h = (heights[:, None] * scales).flatten() / 2
        return torch.stack([-half_w, -half_h, half_w, half_h], 1).round()

    def anchor_strides(
        self, strides: Sequence[tuple[int, int]], sizes: Sequence[tuple[int, int]]
    ) -> list[tuple[int, int]]:
        # Images are padded to whole cells of every level but the pooled one, so the finest map
        # tells their size.
        height, width = sizes[0][0] * strides[0][1], sizes[0][1] * strides[0][0]
        return [(width // w, height // h) for h, w in sizes]

    def resized_shape(self, height: int, width: int, scale: tuple[int, int]) -> tuple[int, int]:
        return resized_shape(height, width, scale, "torchvision")

    def resize(self, image: np.ndarray, height: int, width: int) -> np.ndarray:
        tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float()[None]
        resized = F.interpolate(tensor, (height, width), mode="bilinear", align_corners=False)
        return np.ascontiguousarray(resized[0].numpy().transpose(1, 2, 0))

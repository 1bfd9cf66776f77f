"""Masks of every kind as arrays that can be drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pycocotools.mask
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from torch import Tensor

from mmdet_maskr.ops.mask_rle import RLEMasks


def one_by_one(
    masks: Tensor | np.ndarray | BitmapMasks | PolygonMasks | RLEMasks,
) -> Sequence[np.ndarray] | np.ndarray:
    """N masks (H, W) uint8; RLEs are decoded when they are asked for, and not kept."""
    return _Decoded(masks) if isinstance(masks, RLEMasks) else to_arrays(masks)


class _Decoded(Sequence):
    def __init__(self, masks: RLEMasks) -> None:
        self._masks = masks

    def __len__(self) -> int:
        return len(self._masks)

    def __getitem__(self, index: Any) -> Any:
        return np.ascontiguousarray(pycocotools.mask.decode(self._masks[int(index)]))


def to_arrays(
    masks: Tensor | np.ndarray | BitmapMasks | PolygonMasks | RLEMasks,
) -> np.ndarray:
    """Masks of any kind as (N, H, W) uint8."""
    if isinstance(masks, (BitmapMasks, PolygonMasks)):
        masks = masks.to_ndarray()
    elif isinstance(masks, (Tensor, RLEMasks)):
        masks = masks.numpy()
    return np.asarray(masks, np.uint8)

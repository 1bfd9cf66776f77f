"""Normalization of a batch in few passes over memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmdet.models import DetDataPreprocessor
from mmdet.registry import MODELS
from mmengine.model import ImgDataPreprocessor
from torch import Tensor

from mmdet_maskr.errors import UserError

TYPES = (torch.uint8, torch.float32)


class _InFewPasses(ImgDataPreprocessor):
    pad_to_sizes: Sequence[tuple[int, ...]] = ()  # (H, W), smaller ones first

    def forward(self, data: dict, training: bool = False) -> dict | list:
        """The same images as mmengine's, bit for bit.

        mmengine swaps colors with an index list, which is copied to the GPU with a synchronization,
        and writes each image five times. Inputs other than a list of color images, padding with
        other values than 0, and images without normalization are left to mmengine.
        """
        data = self.cast_data(data)
        images = data["inputs"]
        if self._suits(images):
            data["inputs"] = self._normalized(images)
            data.setdefault("data_samples", None)
        else:
            data = super().forward(data, training)
        if training and self.pad_to_sizes:
            data["inputs"] = self._padded(data["inputs"])
        return data

    def _padded(self, batch: Tensor) -> Tensor:
        """A batch (B, C, H, W), padded at the right and below to one of the sizes."""
        height, width = batch.shape[-2:]
        for size in self.pad_to_sizes:
            below, right = size[0] - height, size[1] - width
            if below == right == 0:
                return batch
            if below >= 0 and right >= 0:
                return F.pad(batch, (0, right, 0, below), value=self.pad_value)
        raise UserError(
            f"a batch of {height} x {width} pixels fits none of data_preprocessor.pad_to_sizes="
            f"{self.pad_to_sizes}: add a larger size, or resize images to less."
        )

    def _suits(self, images: Any) -> bool:
        return (
            self._enable_normalize
            and self.pad_value == 0
            and len(self.mean) == 3
            and isinstance(images, Sequence)
            and len(images) > 0
            and all(
                isinstance(own, Tensor)
                and own.dim() == 3
                and len(own) == 3
                and own.dtype in TYPES
                and own.dtype == images[0].dtype
                for own in images
            )
        )

    def _normalized(self, images: Sequence[Tensor]) -> Tensor:
        """(B, 3, H, W) float32 of B images (3, H_i, W_i), padded at the right and below."""
        channels = (2, 1, 0) if self._channel_conversion else (0, 1, 2)
        sizes = [tuple(own.shape[1:]) for own in images]
        step = self.pad_size_divisor
        height, width = (math.ceil(max(sides) / step) * step for sides in zip(*sizes, strict=True))
        if set(sizes) == {(height, width)}:
            planes = torch.stack([own[c] for own in images for c in channels])
            return (planes.view(-1, 3, height, width) - self.mean).div_(self.std)
        batch = self.mean.new_zeros(len(images), 3, height, width)
        for place, own, (h, w) in zip(batch, images, sizes, strict=True):
            planes = torch.stack([own[c] for c in channels])
            torch.sub(planes, self.mean, out=place[:, :h, :w])
        return batch.div_(self.std)  # what is padded stays 0


@MODELS.register_module()
class BatchedDataPreprocessor(DetDataPreprocessor, _InFewPasses):
    """DetDataPreprocessor with the same images in fewer passes and no GPU synchronization.

    It has the options of DetDataPreprocessor and one more:

    Args:
        pad_to_sizes: sizes (H, W) to pad training batches to; the smallest one that fits is used.
            This gives few shapes, which :class:`.CompileHook` needs. None pads only to
            ``pad_size_divisor``, as in testing.

    Raises:
        UserError: a size is not a multiple of ``pad_size_divisor``, or a training batch is larger
            than all sizes.
    """

    def __init__(
        self, *args, pad_to_sizes: Sequence[tuple[int, int]] | None = None, **kwargs
    ) -> None:
        super().__init__(*args, **kwargs)
        self.pad_to_sizes = sorted(map(tuple, pad_to_sizes or ()), key=math.prod)
        step = self.pad_size_divisor
        for size in self.pad_to_sizes:
            if len(size) != 2 or any(side < 1 or side % step for side in size):
                raise UserError(
                    f"data_preprocessor.pad_to_sizes has {size}: it must be height and width in "
                    f"multiples of pad_size_divisor={step}."
                )

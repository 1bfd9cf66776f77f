"""Normalization of images with any number of bands."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.models import DetDataPreprocessor
from mmdet.registry import MODELS

from mmdet_maskr.bands import check_range
from mmdet_maskr.errors import UserError


@MODELS.register_module()
class BandsDataPreprocessor(DetDataPreprocessor):
    """mmdet's DetDataPreprocessor for images with any number of bands.

    Args:
        mean: mean of each of the C bands, in the units of the files.
        std: standard deviation of each band, above 0.
        options: other options of DetDataPreprocessor, except swapping red and blue.

    Raises:
        UserError: mean and std have different lengths or are empty; a standard deviation is not
            positive; colors would be swapped.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], **options) -> None:
        swaps = [name for name in ("bgr_to_rgb", "rgb_to_bgr") if options.pop(name, False)]
        if swaps:
            raise UserError(f"BandsDataPreprocessor: bands are no colors; leave out {swaps[0]}.")
        if len(mean) != len(std) or not len(mean) or min(std) <= 0:
            raise UserError(
                f"BandsDataPreprocessor: mean has {len(mean)} and std {len(std)} values; each band "
                "needs one of both, and a std above 0."
            )
        super().__init__(**options)
        self._enable_normalize = True
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), False)
        self._means = tuple(float(value) for value in mean)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalize and pad a batch.

        Raises:
            UserError: an image of 8 bits where the means are of more, see :func:`.check_range`.
        """
        samples = data.get("data_samples") or [None] * len(data["inputs"])
        for image, sample in zip(data["inputs"], samples, strict=True):
            path = None if sample is None else sample.metainfo.get("img_path")
            check_range(image.dtype, self._means, str(path or "(an array)"))
        return super().forward(data, training)

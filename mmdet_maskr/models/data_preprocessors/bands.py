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
    """mmdet's DetDataPreprocessor for bands other than three colors, which that one refuses.

    Args:
        mean: of each of C bands, in the numbers of the files.
        std: as many, above 0.
        options: DetDataPreprocessor's other ones, but for the exchange of red and blue.

    Raises:
        UserError: other numbers of means and deviations, none or one that is not positive; an
            exchange of colors.
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

"""Normalization of pixels from 0 to 1, as in torchvision."""

from __future__ import annotations

import torch
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.registry import MODELS


@MODELS.register_module()
class UnitRangePreprocessor(DetDataPreprocessor):
    """DetDataPreprocessor with ``mean`` and ``std`` for pixels divided by 255.

    Statistics that are 255 times as large would round differently: in the last digit of the image
    and, after fifty layers, in the fourth digit of logits.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        """Divide by 255, then continue as DetDataPreprocessor."""
        inputs = data["inputs"]
        if isinstance(inputs, torch.Tensor):
            scaled = self._scaled(inputs)
        else:
            scaled = [self._scaled(image) for image in inputs]
        return super().forward(dict(data, inputs=scaled), training)

    def _scaled(self, image: torch.Tensor) -> torch.Tensor:
        return image.to(self.device, torch.float32) / 255

"""The detector inside what a Runner wraps it in."""

from __future__ import annotations

from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner
from torch import nn


def unwrapped(runner: Runner) -> nn.Module:
    """The model, without distributed training's wrapper and test-time augmentation's."""
    model = runner.model
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model

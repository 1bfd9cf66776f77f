"""The detector inside the Runner's wrappers."""

from __future__ import annotations

from mmdet.models.detectors import SemiBaseDetector
from mmengine.model import BaseAveragedModel, BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner
from torch import nn


def unwrapped(runner: Runner) -> nn.Module:
    """The model, without distributed training's wrapper and test-time augmentation's."""
    return without_wrappers(runner.model)


def without_wrappers(model: nn.Module) -> nn.Module:
    """The model in wrappers of distributed training, averaging and test-time augmentation."""
    while is_model_wrapper(model) or isinstance(model, (BaseTTAModel, BaseAveragedModel)):
        model = model.module
    return model


def predicting_part(model: nn.Module) -> nn.Module:
    """The detector that predicts: inside of wrappers, a teacher and its student, or a tracker."""
    model = without_wrappers(model)
    if isinstance(model, SemiBaseDetector):
        on_teacher = model.semi_test_cfg.get("predict_on", "teacher") == "teacher"
        return predicting_part(model.teacher if on_teacher else model.student)
    inner = getattr(model, "detector", None)
    if inner is not None and not hasattr(model, "roi_head"):
        return predicting_part(inner)
    return model

"""Hooks: what is checked before the first iteration, and how evaluation gets its masks."""

from __future__ import annotations

from mmcv.cnn import VGG
from mmdet.evaluation import CocoMetric, DumpDetResults
from mmdet.models.roi_heads.mask_heads import FusedSemanticHead
from mmdet.registry import HOOKS
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, Runner
from torch import nn

from mmdet_maskr.errors import UserError
from mmdet_maskr.models.mask_heads import ComposedMaskHead


@HOOKS.register_module()
class ClassCountCheckHook(Hook):
    """Checks when the runner starts that the heads have as many classes as the data sets.

    mmdet's NumClassCheckHook asserts the same before the first epoch, for training and validation;
    this one looks at test data too and names the keys of the config.

    Raises:
        UserError: with the data set's number of classes and every head's that differs.
    """

    def before_run(self, runner: Runner) -> None:
        """Compare each data set that the run will use with the model."""
        model = _unwrapped(runner)
        for split in ("train", "val", "test"):
            loop = getattr(runner, f"_{split}_loop")
            if isinstance(loop, BaseLoop):
                _check_classes(model, loop.dataloader.dataset, split, runner)


def _check_classes(model: nn.Module, dataset: object, split: str, runner: Runner) -> None:
    classes = getattr(dataset, "metainfo", {}).get("classes")
    if classes is None:
        runner.logger.warning(
            f"{type(dataset).__name__} of {split}_dataloader has no classes in its metainfo, so "
            "the heads' num_classes is not checked."
        )
        return
    wrong = []
    for name, module in model.named_modules():
        count = getattr(module, "num_classes", None)
        if count is None or name.endswith("rpn_head"):
            continue
        if isinstance(module, (VGG, FusedSemanticHead)):
            continue
        if count != len(classes):
            wrong.append(f"model.{name}.num_classes={count}")
    if wrong:
        raise UserError(
            f"the data set of {split}_dataloader has {len(classes)} classes, but "
            f"{', '.join(wrong)}: set num_classes={len(classes)} there, or other classes in "
            f"{split}_dataloader.dataset.metainfo."
        )


@HOOKS.register_module()
class RLEMasksInEvaluationHook(Hook):
    """Lets the model give RLEs instead of dense masks while it is evaluated.

    COCO's evaluation wants RLEs, and building them directly is several times faster than pasting
    dense masks and encoding these. Outside of validation and testing (inferencers, demos) masks
    stay dense. Pictures and prediction files of a test are as before: RLEMasks are decoded there.

    Does nothing where the config sets ``test_cfg.rcnn.mask_output``, for mask heads other than
    ComposedMaskHead, and where a metric wants tensors: all but those that process predictions as
    CocoMetric or DumpDetResults do, or have an attribute ``accepts_rle = True``.
    """

    _changed: dict | None = None

    def before_val(self, runner: Runner) -> None:
        self._ask_for_rles(runner, runner.val_loop)

    def after_val(self, runner: Runner) -> None:
        self._ask_for_dense(runner)

    def before_test(self, runner: Runner) -> None:
        self._ask_for_rles(runner, runner.test_loop)

    def after_test(self, runner: Runner) -> None:
        self._ask_for_dense(runner)

    def _ask_for_rles(self, runner: Runner, loop: BaseLoop) -> None:
        roi_head = getattr(_unwrapped(runner), "roi_head", None)
        metrics = getattr(getattr(loop, "evaluator", None), "metrics", ())
        if (
            isinstance(getattr(roi_head, "mask_head", None), ComposedMaskHead)
            and "mask_output" not in roi_head.test_cfg
            and all(_accepts_rle(metric) for metric in metrics)
        ):
            roi_head.test_cfg["mask_output"] = "rle"
            self._changed = roi_head.test_cfg

    def _ask_for_dense(self, runner: Runner) -> None:
        if self._changed is not None:
            self._changed.pop("mask_output")
            self._changed = None


def _accepts_rle(metric: BaseMetric) -> bool:
    processes = (CocoMetric.process, DumpDetResults.process)
    return getattr(metric, "accepts_rle", type(metric).process in processes)


def _unwrapped(runner: Runner) -> nn.Module:
    return runner.model.module if is_model_wrapper(runner.model) else runner.model

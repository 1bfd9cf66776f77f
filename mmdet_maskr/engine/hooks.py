"""Hooks: checks before the first iteration, and RLE masks for evaluation."""

from __future__ import annotations

from typing import Any

from mmdet.evaluation import CocoMetric, DumpDetResults
from mmdet.registry import HOOKS
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner
from torch import nn

from mmdet_maskr.datasets.wrappers import leaves, one_metainfo
from mmdet_maskr.engine import model_checks
from mmdet_maskr.engine.unwrap import unwrapped
from mmdet_maskr.models.mask_heads import ComposedMaskHead
from mmdet_maskr.models.mask_heads.mask_head import last_mask_head


@HOOKS.register_module()
class DatasetFitHook(Hook):
    """Checks when the runner starts that the model fits the datasets.

    Heads have as many classes as the data; a keypoint head has the data's keypoints and classes
    with keypoints, and no batch augmentation leaves keypoints behind. Masks of a softmax are in no
    cascade that takes sigmoids. The first batch has the ground truth of all branches. mmdet's
    NumClassCheckHook asserts the number of classes before the first epoch, for training and
    validation; this one looks at test data too and names the keys of the config.

    Raises:
        UserError: what :mod:`mmdet_maskr.engine.model_checks` finds.
    """

    _has_seen_batch = False

    def before_run(self, runner: Runner) -> None:
        """Compare each dataset that the run will use with the model."""
        model = unwrapped(runner)
        for split in ("train", "val", "test"):
            loop = getattr(runner, f"_{split}_loop")
            if isinstance(loop, BaseLoop):
                _check_data(model, loop.dataloader.dataset, split, runner)
                if split == "train":
                    model_checks.check_train_cfg(model)
                    model_checks.check_channels(model)
                    model_checks.check_batch_augments(model)
                    model_checks.check_mask_activation(model)
                    parts = leaves(loop.dataloader.dataset)
                    box_only = sum(getattr(part, "box_only", 0) for part in parts)
                    model_checks.check_box_only(model, box_only, split)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Look at the first batch."""
        if not self._has_seen_batch:
            self._has_seen_batch = True
            model_checks.check_batch(unwrapped(runner), data_batch)


def _check_data(model: nn.Module, dataset: object, split: str, runner: Runner) -> None:
    metainfo = one_metainfo(getattr(dataset, "metainfo", {}), f"{split}_dataloader.dataset")
    if metainfo.get("classes") is None:
        runner.logger.warning(
            f"{type(dataset).__name__} of {split}_dataloader has no classes in its metainfo, "
            "so num_classes of the heads cannot be checked."
        )
        return
    model_checks.check_class_counts(model, metainfo, split)
    model_checks.check_keypoints(model, metainfo, split)


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
        roi_head: Any = getattr(unwrapped(runner), "roi_head", None)
        metrics = getattr(getattr(loop, "evaluator", None), "metrics", ())
        if (
            isinstance(last_mask_head(roi_head), ComposedMaskHead)
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

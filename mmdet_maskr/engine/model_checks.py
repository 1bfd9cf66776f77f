"""Does a model fit a data set: number of classes, keypoints; pure functions on both.

Each raises a UserError that names the keys of the config.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mmcv.cnn import VGG
from mmdet.models.data_preprocessors import BatchResize, BatchSyncRandomResize
from mmdet.models.roi_heads.mask_heads import FusedSemanticHead
from torch import nn

from mmdet_maskr.datasets.keypoint_meta import keypoint_labels
from mmdet_maskr.errors import UserError


def check_class_counts(model: nn.Module, metainfo: Mapping, split: str) -> None:
    """Compare ``num_classes`` of every head, but for the RPN's, with the data set's classes.

    Args:
        model: the model, not wrapped.
        metainfo: of the data set, with ``classes``.
        split: 'train', 'val' or 'test', for messages.

    Raises:
        UserError: with the data set's number of classes and every head's that differs.
    """
    expected = len(metainfo["classes"])
    wrong = []
    for name, module in model.named_modules():
        count = getattr(module, "num_classes", None)
        if count is None or name.endswith("rpn_head"):
            continue
        if isinstance(module, (VGG, FusedSemanticHead)):
            continue
        if count != expected:
            wrong.append(f"model.{name}.num_classes={count}")
    if wrong:
        raise UserError(
            f"the data set of {split}_dataloader has {expected} classes, but "
            f"{', '.join(wrong)}: set num_classes={expected} there, or other classes in "
            f"{split}_dataloader.dataset.metainfo."
        )


def check_keypoints(model: nn.Module, metainfo: Mapping, split: str) -> None:
    """Compare the keypoint head with the data set's keypoints and the classes that have them.

    A model with keypoints may be validated and tested on data without.

    Args:
        model: the model, not wrapped.
        metainfo: of the data set, with ``classes`` and the keys of
            :mod:`mmdet_maskr.datasets.keypoint_meta`.
        split: 'train', 'val' or 'test', for messages.

    Raises:
        UserError: another number of keypoints, other classes with keypoints, or training data
            without keypoints.
    """
    loader = f"{split}_dataloader"
    names = metainfo.get("keypoints")
    for key, head in _keypoint_heads(model):
        if names is None:
            if split != "train":
                continue
            raise UserError(
                f"the model has {key}, but the data set of {loader} has no keypoints in its "
                "metainfo: use CocoKeypointDataset or CocoJointDataset there, or set "
                f"{key}=None."
            )
        if head.num_keypoints != len(names):
            raise UserError(
                f"the data set of {loader} has {len(names)} keypoints, but {key}.num_keypoints="
                f"{head.num_keypoints}: set num_keypoints={len(names)} there, or other keypoints "
                f"in {loader}.dataset.metainfo."
            )
        classes, having = metainfo["classes"], keypoint_labels(metainfo)
        configured = head.keypoint_labels
        labels = range(len(classes)) if configured is None else sorted(configured)
        if list(labels) != having:
            wanted = None if len(having) == len(classes) else having
            raise UserError(
                f"the classes with keypoints are {[classes[label] for label in having]} by "
                f"metainfo['keypoint_classes'] of {loader}.dataset, which are labels {having}, "
                f"but {key}.keypoint_labels={configured}"
                + (" (all classes)" if configured is None else "")
                + f": set keypoint_labels={wanted} there, or other keypoint_classes."
            )


def check_batch_augments(model: nn.Module) -> None:
    """Refuse batch augmentations that would resize images and boxes, but not keypoints.

    Args:
        model: the model, not wrapped.

    Raises:
        UserError: names them.
    """
    if not any(_keypoint_heads(model)):
        return
    for name, module in model.named_modules():
        if isinstance(module, (BatchSyncRandomResize, BatchResize)):
            raise UserError(
                f"model.{name} is {type(module).__name__}, which resizes images and boxes but not "
                "keypoints: leave it out of batch_augments, and resize in the pipeline by "
                "KeypointResize (RandomChoiceResize with resize_type='KeypointResize')."
            )


def _keypoint_heads(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Keypoint heads and their keys in the config."""
    for name, module in model.named_modules():
        if name.rpartition(".")[2] == "keypoint_head":
            yield f"model.{name}", module

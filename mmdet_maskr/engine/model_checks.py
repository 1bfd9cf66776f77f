"""Checks that a model fits a dataset: classes, keypoints, loaded fields.

Each raises a UserError that names the keys of the config.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mmcv.cnn import VGG
from mmdet.models.data_preprocessors import BatchResize, BatchSyncRandomResize
from mmdet.models.roi_heads import CascadeRoIHead
from mmdet.models.roi_heads.mask_heads import FusedSemanticHead
from torch import nn

from mmdet_maskr.coco.keypoint_meta import keypoint_labels
from mmdet_maskr.errors import UserError
from mmdet_maskr.models.mask_heads.mask_head import ComposedMaskHead, last_mask_head
from mmdet_maskr.models.roi_heads import AveragedCascadeRoIHead


def check_class_counts(model: nn.Module, metainfo: Mapping, split: str) -> None:
    """Compare ``num_classes`` of every head, but for the RPN's, with the dataset's classes.

    Args:
        model: the model, not wrapped.
        metainfo: of the dataset, with ``classes``.
        split: 'train', 'val' or 'test', for messages.

    Raises:
        UserError: with the dataset's number of classes and every head's that differs.
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
            f"the dataset of {split}_dataloader has {expected} classes, but "
            f"{', '.join(wrong)}: set num_classes={expected} there, or other classes in "
            f"{split}_dataloader.dataset.metainfo."
        )


def check_keypoints(model: nn.Module, metainfo: Mapping, split: str) -> None:
    """Compare the keypoint head with the dataset's keypoints and the classes that have them.

    A model with keypoints may be validated and tested on data without.

    Args:
        model: the model, not wrapped.
        metainfo: of the dataset, with ``classes`` and the keys of
            :mod:`mmdet_maskr.coco.keypoint_meta`.
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
                f"the model has {key}, but the dataset of {loader} has no keypoints in its "
                "metainfo: use CocoKeypointDataset or CocoJointDataset there, or set "
                f"{key}=None."
            )
        if head.num_keypoints != len(names):
            raise UserError(
                f"the dataset of {loader} has {len(names)} keypoints, but {key}.num_keypoints="
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


def check_train_cfg(model: nn.Module) -> None:
    """Check that the heads of a two-stage model have settings for training.

    Args:
        model: the model, not wrapped.

    Raises:
        UserError: it is None, as in a config for inference.
    """
    for head, key in (("rpn_head", "rpn"), ("roi_head", "rcnn")):
        part = getattr(model, head, None)
        if part is not None and getattr(part, "train_cfg", part) is None:
            raise UserError(
                f"model.train_cfg.{key} is None, but {head} needs it for training: it sets the "
                "assigner and the sampler."
            )


def check_channels(model: nn.Module) -> None:
    """Compare the maps that a backbone gives with those that the neck takes.

    Args:
        model: the model, not wrapped; backbones that do not tell their ``channels`` are left alone.

    Raises:
        UserError: with the backbone's channels.
    """
    given = getattr(getattr(model, "backbone", None), "channels", None)
    taken = getattr(getattr(model, "neck", None), "in_channels", None)
    if isinstance(given, tuple) and isinstance(taken, list) and list(given) != taken:
        raise UserError(
            f"model.backbone returns feature maps with {list(given)} channels, but "
            f"model.neck expects {taken}: set model.neck.in_channels={list(given)}, or other "
            "out_indices of the backbone."
        )


def check_mask_activation(model: nn.Module) -> None:
    """Refuse masks that are a softmax over classes where mmdet's cascade takes sigmoids of them.

    Training would not notice: the first detections would, an epoch later.

    Args:
        model: the model, not wrapped.

    Raises:
        UserError: names a RoI head that leaves the activation to the mask head.
    """
    roi_head = getattr(model, "roi_head", None)
    if isinstance(roi_head, CascadeRoIHead) and not isinstance(roi_head, AveragedCascadeRoIHead):
        head = last_mask_head(roi_head)
        if isinstance(head, ComposedMaskHead):
            head.check_sigmoids()


def check_box_only(model: nn.Module, box_only: int, split: str) -> None:
    """Refuse objects without a mask where their boxes would be trained as masks.

    Args:
        model: the model, not wrapped.
        box_only: how many objects of the dataset have a box and no mask.
        split: 'train', for messages.

    Raises:
        UserError: a mask branch that does not leave them out.
    """
    roi_head = getattr(model, "roi_head", None)
    if not box_only or not getattr(roi_head, "with_mask", False):
        return
    further = [n for n in ("mask_iou_head", "point_head") if getattr(roi_head, n, None) is not None]
    head = last_mask_head(roi_head)
    if further or not isinstance(head, ComposedMaskHead):
        name = further[0] if further else "mask_head"
        raise UserError(
            f"{box_only} objects of {split}_dataloader have a box but no mask, and "
            f"model.roi_head.{name} would train on their boxes as masks. Use "
            "ComposedMaskHead, which skips these objects, or draw their masks."
        )


def check_batch(model: nn.Module, batch: object) -> None:
    """Check that a batch for training has images, and the ground truth of the model's branches.

    Args:
        model: the model, not wrapped.
        batch: from the training's data loader; left alone where it is no batch of images and their
            samples but of several branches (semi-supervised training).

    Raises:
        UserError: names what lacks and the transform that loads it.
    """
    keys = sorted(batch) if isinstance(batch, Mapping) else [type(batch).__name__]
    if not isinstance(batch, Mapping) or not {"inputs", "data_samples"} <= set(keys):
        raise UserError(
            f"the pipeline of train_dataloader returns {keys}, not inputs and data_samples: "
            "it must begin with LoadImageFromFile and end with PackDetInputs or "
            "PackKeypointInputs."
        )
    if not isinstance(batch["data_samples"], list):
        return
    roi_head = getattr(model, "roi_head", None)
    wanted = {"bboxes": "LoadAnnotations(with_bbox=True)"}
    if getattr(roi_head, "with_mask", False):
        wanted["masks"] = "with_mask=True in LoadAnnotations"
    if getattr(roi_head, "with_keypoint", False):
        wanted["keypoints"] = "LoadKeypointAnnotations and PackKeypointInputs"
    for sample in batch["data_samples"]:
        lacking = [key for key in wanted if key not in sample.gt_instances]
        if lacking:
            raise UserError(
                f"the model trains on {' and '.join(lacking)}, which the pipeline of "
                "train_dataloader does not load: it needs "
                f"{' and '.join(wanted[key] for key in lacking)}."
            )


def _keypoint_heads(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Keypoint heads and their keys in the config."""
    for name, module in model.named_modules():
        if name.rpartition(".")[2] == "keypoint_head":
            yield f"model.{name}", module

"""The class names of an inferencer's model, from its checkpoint or its config."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from torch import nn

from mmdet_maskr.datasets.wrappers import metainfo_of, one_metainfo
from mmdet_maskr.engine.unwrap import predicting_part
from mmdet_maskr.errors import UserError


def names_of(
    model: nn.Module,
    cfg: Config | ConfigDict,
    checkpoint: Any,
    weights: str | None,
    named: str,
    palette: str,
    classes: Sequence[str] | None,
) -> dict[str, Any]:
    """Returns a model's ``dataset_meta``: names of classes and keypoints, colors, skeleton.

    Args:
        model: the detector.
        cfg: its config, with the dataset that it is tested on.
        checkpoint: the loaded checkpoint, or None.
        weights: its path.
        named: the config or checkpoint, for messages.
        palette: colors to use; 'none' for those of the dataset.
        classes: class names that override those of checkpoint and config.

    Raises:
        UserError: there are no class names, or their number differs from the model's.
    """
    of_config = metainfo_of(copy.deepcopy(cfg.test_dataloader.dataset))
    given = checkpoint_meta(checkpoint)
    if "classes" not in of_config:
        if "classes" not in given:
            raise UserError(
                f"neither {weights or 'a checkpoint'} nor {named} has class names: set "
                "test_dataloader.dataset.metainfo=dict(classes=(...)) in the config."
            )
        of_config = {**of_config, "classes": given["classes"]}
    meta = join_meta(given, of_config)
    if classes is not None:
        meta["classes"] = tuple(classes)
    if palette != "none":
        meta["palette"] = palette
    check_classes(meta, given, classes, _count(model, len(meta["classes"])), weights)
    return meta


def _count(model: nn.Module, default: int) -> int:
    """How many classes a model knows; ``default`` where it does not say."""
    detector = predicting_part(model)
    bbox_head = getattr(getattr(detector, "roi_head", None), "bbox_head", None)
    things = getattr(bbox_head, "num_classes", None)
    if things is None:
        return default
    return things + getattr(detector, "num_stuff_classes", 0)  # of panoptic models


def checkpoint_meta(checkpoint: dict | None) -> dict:
    """``dataset_meta`` with lower-case keys, also of mmdet 2, which stored CLASSES and PALETTE."""
    meta = {} if checkpoint is None else checkpoint.get("meta", {})
    old = {key: meta[key] for key in ("CLASSES", "PALETTE") if key in meta}
    stored = one_metainfo(meta.get("dataset_meta", old), "the checkpoint")
    return {key.lower(): value for key, value in stored.items()}


def join_meta(given: dict, config_meta: dict) -> dict:
    """Metainfo of a checkpoint, completed by that of the config's dataset.

    If both have different classes, only the checkpoint's metainfo is used, except for the palette,
    which comes from the config, as in DetInferencer.

    Args:
        given: metainfo of the checkpoint; may be empty.
        config_meta: metainfo of the dataset.
    """
    palette = config_meta.get("palette", given.get("palette", "random"))
    same = list(given.get("classes", config_meta["classes"])) == list(config_meta["classes"])
    meta = {**config_meta, **given} if same else given
    return {**meta, "palette": palette}


def check_classes(
    meta: dict, given: dict, classes: Sequence[str] | None, expected: int, weights: str | None
) -> None:
    """Check that a model has as many classes as there are names; print where the names come from.

    Args:
        meta: metainfo with the names that will be used.
        given: metainfo of the checkpoint.
        classes: names passed by the caller, or None.
        expected: number of the model's classes.
        weights: the checkpoint, or None.

    Raises:
        UserError: the numbers differ.
    """
    names = meta["classes"]
    shown = f"{', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
    if len(names) != expected:
        where = "checkpoint" if "classes" in given else "config's test_dataloader.dataset"
        where = where if classes is None else "option classes"
        raise UserError(
            f"the model has {expected} classes, but the {where} names {len(names)}: {shown}. "
            "Pass classes=(...) with the names in the order of training, set "
            "test_dataloader.dataset.metainfo=dict(classes=(...)) in the config, or use "
            "another model."
        )
    if weights is not None and classes is None and "classes" not in given:
        print_log(
            f"checkpoint {weights} has no class names, so the classes of the config's "
            f"dataset are used: {shown}. If the model was trained on other classes, pass "
            "classes=(...) in the order of training."
        )

"""Changes the classes of a converted model: layers that depend on them are initialized again."""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Sequence

import torch
from torch import nn

from mmdet_maskr.errors import UserError
from mmdet_maskr.quiet import quiet
from mmdet_maskr.weights.output import Conversion, build

REASON = "the classes are those of your dataset"


def check_class_names(names: Sequence[str]) -> tuple[str, ...]:
    """Names of at least one class, none twice.

    Raises:
        UserError: an empty name, or one that occurs twice.
    """
    names = tuple(name.strip() for name in names)
    if not all(names):
        raise UserError(f"--classes has an empty name: {', '.join(names)!r}.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"--classes names {', '.join(twice)} twice.")
    return names


def with_own_classes(conversion: Conversion, names: Sequence[str]) -> Conversion:
    """The converted model with other classes: to be trained on.

    Class logits, and box deltas and mask logits where each class has its own, get the initial
    weights that training from scratch gives them (seed 0); all else is kept.

    Args:
        conversion: of a model with boxes, and maybe masks.
        names: of the classes, in the order of the dataset's categories.

    Raises:
        UserError: an empty name, or one that occurs twice.
    """
    names = check_class_names(names)
    changed = copy.deepcopy(conversion)
    roi_head = changed.settings["model"]["roi_head"]
    boxes, masks = roi_head["bbox_head"], roi_head.get("mask_head") or []
    box_heads = boxes if isinstance(boxes, list) else [boxes]
    mask_heads = masks if isinstance(masks, list) else [masks]
    for head in [*box_heads, *mask_heads]:
        head["num_classes"] = len(names)
        if head.get("loss_cls", {}).pop("num_unused", None):
            head["loss_cls"].update(type="CrossEntropyLoss", use_sigmoid=False)
    for split in ("train", "val", "test"):
        changed.settings[f"{split}_dataloader"]["dataset"]["metainfo"] = dict(classes=names)

    layers = [r"fc_cls"]
    if not box_heads[0].get("reg_class_agnostic"):
        layers.append(r"fc_reg")
    if mask_heads and not mask_heads[0].get("class_agnostic"):
        layers.append(r"(conv|fc)_logits")
    pattern = rf"roi_head\.(bbox|mask)_head\.(\d\.)?({'|'.join(layers)})\..*"
    fresh = _initial(changed.settings["model"])
    for name, value in fresh.items():
        if re.fullmatch(pattern, name):
            changed.state[name] = value
            changed.dropped[name] = REASON
    changed.source += f", classes {', '.join(names)}"
    changed.source_labels, changed.source_background = [], -1
    return changed


def _initial(model_cfg: dict) -> dict[str, torch.Tensor]:
    """The weights that the heads of a model start from."""
    with quiet(logging.INFO), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(model_cfg)
        for name in ("bbox_head", "mask_head"):
            head = getattr(model.roi_head, name, None)
            for part in head if isinstance(head, nn.ModuleList) else [head]:
                if part is not None:
                    part.init_weights()
    return model.state_dict()

"""Where a training begins: weights by name where they can be had, or none."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from mmengine.runner.checkpoint import CheckpointLoader

from mmdet_maskr.engine.load_hooks import weights_of
from mmdet_maskr.recipe.machine import Machine
from mmdet_maskr.zoo.resolve import as_weights

COCO = (  # MMDetection's
    "https://download.openmmlab.com/mmdetection/v2.0/mask_rcnn/mask_rcnn_r50_fpn_1x_coco/"
    "mask_rcnn_r50_fpn_1x_coco_20200205-d4b0c5d6.pth"
)
IMAGENET = "torchvision://resnet50"


class Start(NamedTuple):
    """Initial weights.

    Attributes:
        load_from: of the whole model; None for none.
        body: of the backbone alone; None for none.
        reason: why these.
        small: whether they are the small model's, which trains without any, too.
    """

    load_from: str | None
    body: str | None
    reason: str
    small: bool = True


def start_of(machine: Machine, wanted: str | None) -> Start:
    """The weights to begin with.

    Args:
        machine: on a CPU the small model learns from scratch.
        wanted: the user's ``--weights``: a file or an address; 'none' for none.

    Raises:
        UserError: what the user names cannot be had.
    """
    if wanted == "none":
        return Start(None, None, "none, as --weights none says")
    if wanted is not None:
        path = _named(wanted)
        return Start(path, None, "--weights", _is_small(path))
    if machine.gpu is None:
        return Start(None, None, "none: on a CPU the small model is faster from scratch")
    try:
        _load(COCO)
        return Start(COCO, None, "COCO's: they know edges, parts and things already", False)
    except Exception as error:  # no network, by any of its errors
        lacking = f"COCO's cannot be had ({str(error)[:80]})"
    try:
        _load(IMAGENET)
    except Exception as error:
        return Start(None, None, f"none: {lacking}, nor ImageNet's ({str(error)[:80]})")
    return Start(None, IMAGENET, f"ImageNet's for the body: {lacking}", False)


def _named(name: str) -> str:
    """A file, an address or a pretrained model, as ``load_from`` has it."""
    found = as_weights(name)
    return found if "://" in found else str(Path(found).absolute())


def _load(name: str) -> dict:
    return CheckpointLoader.load_checkpoint(name, map_location="cpu")


def _is_small(path: str) -> bool:
    """Whether weights are the small model's, whose body is half as wide as a ResNet.

    Raises:
        UserError: they are no checkpoint.
    """
    weights = weights_of(_load(path), f"--weights {path}")
    first = weights.get("backbone.conv1.weight")
    return first is not None and len(first) < 64

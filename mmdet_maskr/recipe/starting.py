"""Initial weights: a pretrained model if one is available, otherwise none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mmengine.runner.checkpoint import CheckpointLoader

from mmdet_maskr import pypi_weights
from mmdet_maskr.catalogue import config_path
from mmdet_maskr.engine.load_hooks import weights_of
from mmdet_maskr.errors import UserError
from mmdet_maskr.recipe.machine import Machine
from mmdet_maskr.zoo.resolve import as_weights, is_reference, resolve

COCO = "mask-rcnn_r50_fpn_1x_coco"  # fits maskr_r50_fpn
IMAGENET = "torchvision://resnet50"
# Weights of light backbones, and the configs whose models have them; told apart in a checkpoint by
# the channels of their third stage.
LIGHT = {
    "pypi://efficientnet-lite0": "light/maskr_effnet-lite0_fpn_480-3x",
    "pypi://efficientnet-lite2": "light/maskr_effnet-lite2_fpn_480-3x",
}
_OF_LIGHT = "backbone.stages.2.0.project.conv.weight"
_CHANNELS = {40: "pypi://efficientnet-lite0", 48: "pypi://efficientnet-lite2"}


class Start(NamedTuple):
    """Initial weights.

    Attributes:
        load_from: weights of the whole model, or None.
        backbone: weights of only the backbone, or None.
        reason: the reason for the choice.
        small: whether to train the small model for CPUs.
        config: config of the model of the weights; None if it is one of ours.
    """

    load_from: str | None
    backbone: str | None
    reason: str
    small: bool = True
    config: str | None = None


def start_of(machine: Machine, wanted: str | None, deep: Sequence[str] | None = None) -> Start:
    """Choose the initial weights.

    Args:
        machine: on a CPU, the small model trains from scratch.
        wanted: the user's ``--weights``: a file, a URL, a name from the zoo, ImageNet weights for a
            light backbone (:data:`LIGHT`), or 'none'.
        deep: data types of the photos, if they are not 8-bit colors.

    Raises:
        UserError: the weights do not exist or cannot be loaded.
    """
    if wanted == "none":
        return Start(None, None, "none, because of --weights none")
    if wanted is not None and wanted.startswith(pypi_weights.SCHEME):
        pypi_weights.packaged_file(wanted)
        if wanted not in LIGHT:
            raise UserError(f"--weights {wanted}: light models start from {' or '.join(LIGHT)}.")
        why = "--weights: ImageNet weights for the backbone"
        return Start(None, wanted, why, config=config_path(LIGHT[wanted]))
    if wanted is not None:
        weights = as_weights(wanted)
        if is_reference(weights):
            return Start(weights, None, "--weights", False, resolve(weights).config)
        return _of_file(weights)
    if deep is not None:
        return Start(None, None, f"none: there are none for photos of {' and '.join(deep)}")
    if machine.gpu is None:
        return Start(None, None, "none: on a CPU the small model trains from scratch")
    try:
        resolve(COCO)
        why = "COCO weights, so that fewer photos are needed"
        return Start(as_weights(COCO), None, why, False)
    except UserError as error:  # no network
        lacking = f"COCO weights cannot be loaded ({str(error)[:80]})"
    try:
        _load(IMAGENET)
    except Exception as error:  # no network, by any of its errors
        return Start(None, None, f"none: {lacking}, nor ImageNet weights ({str(error)[:80]})")
    return Start(None, IMAGENET, f"ImageNet weights for the backbone: {lacking}", False)


def _load(name: str) -> dict:
    return CheckpointLoader.load_checkpoint(name, map_location="cpu", logger="silent")


def _of_file(path: str) -> Start:
    """A checkpoint: of a light model, of the small one, half as wide as a ResNet, or of another.

    Raises:
        UserError: it is no checkpoint.
    """
    weights = weights_of(_load(path), f"--weights {path}")
    light = _CHANNELS.get(len(weights.get(_OF_LIGHT, ())))
    if light is not None:
        return Start(path, None, "--weights", config=config_path(LIGHT[light]))
    first = weights.get("backbone.conv1.weight")
    return Start(path, None, "--weights", first is not None and len(first) < 64)

"""Whose conventions a part follows, where codebases agree on the idea and differ in the details."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mmdet_maskr.errors import UserError

CONVENTIONS = ("mmdet", "detectron2", "torchvision")


def check_convention(option: str, value: str, accepted: tuple[str, ...] = CONVENTIONS) -> str:
    """``value``, where it is accepted.

    Args:
        option: its name in a config, for the message.
        value: what was given.
        accepted: the conventions that the option knows.

    Raises:
        UserError: another value.
    """
    if value not in accepted:
        raise UserError(f"{option} must be one of {accepted}, not {value!r}.")
    return value


def check_nms(option: str, convention: str, cfg: Mapping) -> None:
    """Check that the NMS of Detectron2 or torchvision does what ``cfg.nms`` asks for.

    Args:
        option: name of ``cfg`` in a config, for the message.
        convention: another than mmdet's.
        cfg: ``test_cfg.rpn``, ``test_cfg.rcnn`` or ``train_cfg.rpn_proposal``.

    Raises:
        UserError: another type of NMS, or further options.
    """
    nms = dict(cfg.get("nms") or {})
    if nms.get("type", "nms") != "nms" or set(nms) - {"type"} != {"iou_threshold"}:
        raise UserError(
            f"{option}.nms={nms} cannot go with {option}.convention={convention!r}, whose NMS has "
            "no options but dict(type='nms', iou_threshold=...); convention='mmdet' takes them all."
        )


def clipped(boxes: Tensor, image_shape: Sequence[int]) -> Tensor:
    """Boxes clipped to an image.

    Args:
        boxes: (N, 4) or (N, K, 4) xyxy in pixels.
        image_shape: height and width.
    """
    height, width = image_shape[:2]
    x, y = boxes[..., 0::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)
    return torch.stack([x, y], -1).flatten(-2)

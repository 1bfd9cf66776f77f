"""Mask probabilities to masks of the image, as ``test_cfg.rcnn`` sets it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from mmengine.config import ConfigDict
from torch import Tensor

from mmdet_maskr import conventions
from mmdet_maskr.errors import UserError
from mmdet_maskr.ops.mask_paste import paste_masks
from mmdet_maskr.ops.mask_rle import RLEMasks, encode_masks

MASK_OUTPUTS: dict[str, Callable[..., Tensor | RLEMasks]] = dict(
    dense=paste_masks, rle=encode_masks
)


def paste(
    probabilities: Tensor, boxes: Tensor, size: tuple[int, int], cfg: ConfigDict
) -> Tensor | RLEMasks:
    """Masks of the detections of an image.

    Args:
        probabilities: (D, m, m).
        boxes: (D, 4) xyxy in pixels of the image.
        size: its height H and width W.
        cfg: ``test_cfg.rcnn``: ``mask_thr_binary``, ``mask_output`` 'dense' (default) or 'rle',
            and ``convention``, which says how masks become pixels.

    Returns:
        (D, H, W) bool, or RLEMasks.

    Raises:
        UserError: an unknown ``mask_output`` or ``convention``.
    """
    convention = conventions.find("test_cfg.rcnn.convention", cfg.get("convention", "mmdet"))
    convert = MASK_OUTPUTS[check_mask_output(cfg)]
    return convert(probabilities, boxes, *size, cfg.mask_thr_binary, convention.crops)


def size_of(meta: dict, rescale: bool) -> tuple[int, int]:
    """Height and width of the image that masks are pasted into.

    Args:
        meta: ``ori_shape`` and ``scale_factor``.
        rescale: into the original image, else into the network's input.
    """
    height, width = meta["ori_shape"][:2]
    if rescale:
        return height, width
    scale_x, scale_y = torch.tensor(meta["scale_factor"], dtype=torch.float32).tolist()
    return round(height * scale_y), round(width * scale_x)


def check_mask_output(cfg: ConfigDict) -> str:
    """``test_cfg.rcnn.mask_output``: 'dense' or 'rle'.

    Raises:
        UserError: another value.
    """
    output = cfg.get("mask_output", "dense")
    if output not in MASK_OUTPUTS:
        raise UserError(
            f"test_cfg.rcnn.mask_output must be one of {tuple(MASK_OUTPUTS)}, not {output!r}."
        )
    return output

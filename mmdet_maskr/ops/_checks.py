"""Checks of what RoI layers are given; each raises a UserError that names the value."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmdet_maskr.errors import UserError
from mmdet_maskr.ops.constants import constant
from mmdet_maskr.ops.late_checks import require
from mmdet_maskr.tracing import is_traced

POOL_MODES = ("avg", "max")
FLOAT_TYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def check_output_size(value: int | Sequence[int]) -> tuple[int, int]:
    """``output_size`` as (height, width) in bins."""
    pair = tuple(value) if isinstance(value, Sequence) else (value, value)
    if len(pair) != 2 or not all(isinstance(v, int) and v > 0 for v in pair):
        raise UserError(f"output_size must be one or two positive integers, not {value!r}.")
    return pair


def check_spatial_scale(value: float) -> float:
    if not 0 < float(value) < float("inf"):
        raise UserError(f"spatial_scale must be positive (1 / stride), not {value!r}.")
    return float(value)


def check_sampling_ratio(value: int) -> int:
    """0 for as many samples as the bin has pixels, which mmcv and torchvision write as -1 too."""
    if int(value) != value:
        raise UserError(
            f"sampling_ratio must be 0 (as many samples as the bin has pixels) or a positive "
            f"integer, not {value!r}."
        )
    return max(int(value), 0)


def check_pool_mode(value: str) -> str:
    if value not in POOL_MODES:
        raise UserError(f"pool_mode must be one of {POOL_MODES}, not {value!r}.")
    return value


def check_features(features: Sequence[Tensor]) -> None:
    """All levels are (B, C, H, W) and agree in B, C, type and device."""
    first = features[0]
    for level, feature in enumerate(features):
        if feature.dim() != 4:
            raise UserError(
                f"features must be (B, C, H, W), but level {level} is {tuple(feature.shape)}."
            )
        if feature.dtype not in FLOAT_TYPES:
            raise UserError(f"features must be of a floating type, not {feature.dtype}.")
        if feature.shape[1:].numel() == 0:
            raise UserError(f"level {level} has no pixels or channels: {tuple(feature.shape)}.")
        if (
            feature.shape[:2] != first.shape[:2]
            or feature.dtype != first.dtype
            or feature.device != first.device
        ):
            raise UserError(
                "levels must agree in batch, channels, type and device, but level 0 is "
                f"{tuple(first.shape)} {first.dtype} on {first.device} and level {level} "
                f"{tuple(feature.shape)} {feature.dtype} on {feature.device}."
            )


def check_roi_shape(rois: Tensor) -> None:
    if rois.dim() != 2 or rois.shape[1] != 5:
        raise UserError(
            f"RoIs must be (N, 5): image index, x1, y1, x2, y2; got {tuple(rois.shape)}."
        )


def check_rois(
    rois: Tensor, levels: Tensor | None, features: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """RoIs that fit a batch, detached, in float32 (float64 for float64 features); their levels.

    Low-precision RoIs would move by up to several pixels: bfloat16 has 8 bits for a coordinate
    of 1333. So RoIs keep float32 for features of any type.

    Args:
        rois: (N, 5), image index in the batch, then x1, y1, x2, y2 in pixels of the input image.
        levels: (N,) integers, the level of each; None where there is one level.
        features: for each level (B, C, H_l, W_l).

    Returns:
        (N, 5), contiguous, on the features' device, and (N,) int64, all zero for one level.

    Raises:
        UserError: another shape, another device, an index outside the batch, a size that is
            negative, infinite or NaN, a level outside the pyramid; with the first such RoI.
    """
    check_roi_shape(rois)
    first, count = features[0], len(features)
    if rois.device != first.device:
        raise UserError(f"RoIs are on {rois.device}, features on {first.device}: move one of them.")
    if levels is None and count != 1:
        raise UserError(f"a pyramid of {count} levels needs the level of each RoI.")
    if levels is not None and (levels.shape != rois.shape[:1] or levels.is_floating_point()):
        raise UserError(
            f"levels must be ({len(rois)},) integers, got {tuple(levels.shape)} {levels.dtype}."
        )
    exact = torch.float64 if first.dtype == torch.float64 else torch.float32
    rois = rois.detach().to(exact).contiguous()
    if len(rois) and not is_traced():
        good, given = _is_good(rois, levels, len(first), count), rois

        def explain() -> None:
            _explain_bad_roi(given, levels, int((~good).int().argmax()), len(first), count)

        require(good.all(), explain)
        if rois.device.type != "cpu":  # a kernel may come before the verdict is read
            rois = rois.where(good[:, None], 0)
    if levels is None:
        return rois, torch.zeros_like(rois[:, 0], dtype=torch.int64)
    return rois, levels.to(rois.device, torch.int64)


def _is_good(rois: Tensor, levels: Tensor | None, batch: int, count: int) -> Tensor:
    """(N,) whether a RoI can be pooled; NaN fails every comparison, inf - inf is NaN."""
    image = rois[:, :1]
    parts = [rois[:, 3:] - rois[:, 1:3], image, image.frac()]
    most = [torch.finfo(rois.dtype).max] * 2 + [batch - 1, 0]
    if levels is not None:
        parts.append(levels[:, None])
        most.append(count - 1)
    given = torch.cat(parts, 1)
    return (given == given.clamp(min=0).minimum(constant(most, given))).all(1)


def _explain_bad_roi(
    rois: Tensor, levels: Tensor | None, index: int, batch: int, count: int
) -> None:
    image, *box = rois[index].tolist()
    box_text = f"(x1, y1, x2, y2) = ({', '.join(f'{v:g}' for v in box)})"
    if not (0 <= image < batch and image == int(image)):
        raise UserError(
            f"RoI {index} has image index {image:g}, but the batch has {batch} images "
            f"(0 to {batch - 1}); its box is {box_text}."
        )
    level = 0 if levels is None else int(levels[index])
    width, height = box[2] - box[0], box[3] - box[1]
    if 0 <= width < float("inf") and 0 <= height < float("inf"):
        raise UserError(f"RoI level {level} is outside a pyramid of {count} levels.")
    raise UserError(
        f"RoI {index} has a negative, infinite or NaN size: {box_text}. The box may "
        "be empty, but x1 <= x2 and y1 <= y2 must hold. NaN usually means that "
        "training has diverged."
    )


def check_scales(scales: Sequence[float], features: Sequence[Tensor]) -> list[float]:
    if len(features) == 0 or len(scales) != len(features):
        raise UserError(
            f"a pyramid of {len(features)} levels needs as many spatial scales, got {scales!r}."
        )
    return [check_spatial_scale(scale) for scale in scales]


def memory_format(features: Sequence[Tensor]) -> torch.memory_format:
    """channels_last if all maps are, and for one at least that differs from contiguous."""
    last = all(f.is_contiguous(memory_format=torch.channels_last) for f in features)
    if last and not all(f.is_contiguous() for f in features):
        return torch.channels_last
    return torch.contiguous_format

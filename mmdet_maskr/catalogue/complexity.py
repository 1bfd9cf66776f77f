"""Parameters and operations of a detector, counted without running it.

Tensors on the "meta" device have shapes only, so the largest model takes a second. Operations are
multiply-adds, as papers and mmdet's tools count them, for one image of mmdet's size, or of the
config's where that is smaller, and for as many RoIs as the config allows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from mmcv.ops import DeformConv2d, ModulatedDeformConv2d
from mmdet.models.roi_heads import CascadeRoIHead, MaskScoringRoIHead, StandardRoIHead
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mmdet_maskr.models import ParallelRoIHead

IMAGE = (800, 1280)  # height and width, as in mmdet's tables
PROPOSALS = 1000  # most RoIs of the box heads
DETECTIONS = 100  # most RoIs of the mask and keypoint heads
COUNTED = (CascadeRoIHead, MaskScoringRoIHead, ParallelRoIHead, StandardRoIHead)


def build_bare(model_cfg: ConfigDict) -> nn.Module:
    """A model without memory for its weights, in evaluation mode."""
    try:
        with torch.device("meta"):
            model = MODELS.build(model_cfg)
    except RuntimeError as error:
        if "meta tensors" not in str(error):  # Swin asks for the value of a tensor
            raise
        model = MODELS.build(model_cfg).to("meta")
    return model.eval()


def count_parameters(model: nn.Module) -> int:
    """All parameters, frozen ones included."""
    return sum(parameter.numel() for parameter in model.parameters())


def image_of(cfg: Config) -> tuple[int, int]:
    """Height and width that operations are counted for.

    Args:
        cfg: a whole config; the size is that of its test pipeline.
    """
    for step in cfg.test_dataloader.dataset.pipeline:
        scale = step.get("scale")
        if isinstance(scale, Sequence) and math.prod(scale) < math.prod(IMAGE):
            return scale[1], scale[0]
    return IMAGE


def count_operations(model: nn.Module, image: tuple[int, int] = IMAGE) -> int | None:
    """Multiply-adds of a prediction, but for resampling, NMS and pasting.

    Args:
        model: from :func:`build_bare`; it is not usable afterwards.
        image: height and width in pixels.

    Returns:
        None where a RoI head has parts that are not counted here (PointRend, HTC).
    """
    roi_head = getattr(model, "roi_head", None)
    if roi_head is not None and type(roi_head) not in COUNTED:
        return None
    for module in model.modules():
        if isinstance(module, (DeformConv2d, ModulatedDeformConv2d)):
            _count_as_convolution(module)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        bands = (
            len(model.data_preprocessor.mean) if model.data_preprocessor._enable_normalize else 3
        )
        features = model.extract_feat(torch.empty(1, bands, *image, device="meta"))
        (model.bbox_head if roi_head is None else model.rpn_head)(features)
        if hasattr(model, "semantic_head"):
            model.semantic_head(features)
        if roi_head is not None:
            test_cfg = model.test_cfg
            proposals = min(PROPOSALS, test_cfg.get("rpn", {}).get("max_per_img", PROPOSALS))
            _run_heads(roi_head, proposals, min(DETECTIONS, test_cfg.rcnn.max_per_img))
    return counter.get_total_flops() // 2


def _count_as_convolution(module: nn.Module) -> None:
    """A deformable convolution multiplies and adds as often as a plain one, offsets aside."""

    def forward(x: Tensor) -> Tensor:
        module.conv_offset(x)
        return F.conv2d(
            x, module.weight, None, module.stride, module.padding, module.dilation, module.groups
        )

    module.forward = forward


def _run_heads(roi_head: nn.Module, proposals: int, detections: int) -> None:
    """Box heads on proposals, the others on detections; a cascade's stages one after another."""
    for extractor, head in zip(
        _stages(roi_head.bbox_roi_extractor), _stages(roi_head.bbox_head), strict=True
    ):
        head(_shared(roi_head, _pooled(extractor, proposals)))
    if roi_head.with_mask:
        for extractor, head in zip(
            _stages(roi_head.mask_roi_extractor), _stages(roi_head.mask_head), strict=True
        ):
            features = _shared(roi_head, _pooled(extractor, detections))
            masks = head(features)
            if hasattr(roi_head, "mask_iou_head"):
                roi_head.mask_iou_head(features, masks[:, 0])
    if getattr(roi_head, "with_keypoint", False):
        features = _pooled(roi_head.keypoint_extractor, detections)
        roi_head.keypoint_head(_shared(roi_head, features))


def _stages(part: nn.Module) -> Iterable[nn.Module]:
    return part if isinstance(part, nn.ModuleList) else [part]


def _pooled(extractor: nn.Module, count: int) -> Tensor:
    size = extractor.roi_layers[0].output_size
    height, width = (size, size) if isinstance(size, int) else size
    return torch.empty(count, extractor.out_channels, height, width, device="meta")


def _shared(roi_head: nn.Module, features: Tensor) -> Tensor:
    return roi_head.shared_head(features) if roi_head.with_shared_head else features

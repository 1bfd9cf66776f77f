"""The parts that can be exported, and their settings for the graph."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import mmcv.ops
from mmdet.models.backbones import RegNet, ResNet, ResNetV1d, ResNeXt
from mmdet.models.dense_heads import RPNHead
from mmdet.models.detectors import FasterRCNN, MaskRCNN
from mmdet.models.necks import FPN
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.roi_heads.bbox_heads import (
    BBoxHead,
    ConvFCBBoxHead,
    Shared2FCBBoxHead,
    Shared4Conv1FCBBoxHead,
)
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.models.roi_heads.shared_heads import ResLayer
from mmdet.models.task_modules.coders import BaseBBoxCoder, DeltaXYWHBBoxCoder
from mmdet.models.task_modules.prior_generators import AnchorGenerator
from mmengine.config import ConfigDict
from torch import nn

from mmdet_maskr import conventions
from mmdet_maskr.conventions import Convention
from mmdet_maskr.deploy.export.boxes import Coder, mmdet_coder, weighted_coder
from mmdet_maskr.errors import UserError
from mmdet_maskr.models.backbones.efficientnet_lite import EfficientNetLite
from mmdet_maskr.models.backbones.resnet import FreeWidthResNet
from mmdet_maskr.models.backbones.timm_backbone import TimmBackbone
from mmdet_maskr.models.dense_heads import SampledRPNHead
from mmdet_maskr.models.keypoint_heads import HeatmapKeypointHead
from mmdet_maskr.models.mask_heads import ComposedMaskHead
from mmdet_maskr.models.roi_extractors import LevelRoIExtractor
from mmdet_maskr.models.roi_heads import FreeWidthStage, ParallelRoIHead, Res5Head
from mmdet_maskr.models.task_modules import SizedAnchorGenerator, WeightedBoxCoder
from mmdet_maskr.models.task_modules.box_coder import LARGEST_LOG_SCALE
from mmdet_maskr.ops import RoIAlign
from mmdet_maskr.ops.nms import plain_nms

# by option of the config; subclasses do other things, so the types are these exactly
ACCEPTED: dict[str, tuple[type, ...]] = {
    "model": (MaskRCNN, FasterRCNN),
    "backbone": (
        ResNet,
        ResNetV1d,
        ResNeXt,
        RegNet,
        FreeWidthResNet,
        EfficientNetLite,
        TimmBackbone,
    ),
    "neck": (FPN,),
    "rpn_head": (RPNHead, SampledRPNHead),
    "rpn_head.anchor_generator": (AnchorGenerator, SizedAnchorGenerator),
    "roi_head": (StandardRoIHead, ParallelRoIHead),
    "roi_head.shared_head": (ResLayer, Res5Head, FreeWidthStage),
    "roi_head.bbox_head": (BBoxHead, ConvFCBBoxHead, Shared2FCBBoxHead, Shared4Conv1FCBBoxHead),
    "roi_head.mask_head": (FCNMaskHead, ComposedMaskHead),
    "roi_head.keypoint_head": (HeatmapKeypointHead,),
    "bbox_coder": (DeltaXYWHBBoxCoder, WeightedBoxCoder),
    "roi_extractor": (SingleRoIExtractor, LevelRoIExtractor),
    "roi_layer": (RoIAlign, mmcv.ops.RoIAlign),
}


class Pooling(NamedTuple):
    """Settings of the RoI pooling.

    ``level_rule`` has the arguments of :func:`.levels.assign_levels` after the number of levels.
    """

    output_size: tuple[int, int]
    scales: tuple[float, ...]
    sampling_ratio: int
    aligned: bool
    level_rule: tuple[float, int, int, str]


def check_part(option: str, part: object, kind: str | None = None) -> None:
    """Check that a part can be exported.

    Args:
        option: name of the part in a config.
        part: the built part.
        kind: key of :data:`ACCEPTED`; None for ``option``.

    Raises:
        UserError: the part cannot be exported; the message has the accepted types.
    """
    accepted = ACCEPTED[kind or option]
    forms = [form for cls in accepted for form in getattr(cls, "forms", {}).values()]
    if type(part) not in (*accepted, *forms):
        names = ", ".join(cls.__name__ for cls in accepted)
        raise UserError(
            f"{option} {type(part).__name__} cannot be exported; accepted are: {names}."
        )


def check_model(model: nn.Module) -> None:
    """Check that the graph computes this model as PyTorch does.

    Raises:
        UserError: a part or option cannot be exported; the message has the accepted ones.
    """
    check_part("model", model)
    check_part("backbone", model.backbone)
    if model.with_neck:
        check_part("neck", model.neck)
    check_part("rpn_head", model.rpn_head)
    check_part("rpn_head.anchor_generator", model.rpn_head.prior_generator)
    head = model.roi_head
    check_part("roi_head", head)
    if head.with_shared_head:
        check_part("roi_head.shared_head", head.shared_head)
    check_part("roi_head.bbox_head", head.bbox_head)
    if head.with_mask:
        check_part("roi_head.mask_head", head.mask_head)
    if getattr(head, "with_keypoint", False):
        check_part("roi_head.keypoint_head", head.keypoint_head)
    for name, module in model.named_modules():
        where = type(module).__module__
        if where.startswith("mmcv.ops") and type(module) not in ACCEPTED["roi_layer"]:
            raise UserError(
                f"{name} is a {type(module).__name__}. It needs mmcv's compiled ops, so it "
                "cannot be exported."
            )
    bbox_head = head.bbox_head
    if bbox_head.custom_activation or not (bbox_head.with_cls and bbox_head.with_reg):
        raise UserError(
            "roi_head.bbox_head must have a softmax over classes and a regression of boxes; its "
            f"loss is {type(bbox_head.loss_cls).__name__}, with_cls={bbox_head.with_cls}, "
            f"with_reg={bbox_head.with_reg}."
        )


def coder_of(option: str, coder: BaseBBoxCoder) -> Coder:
    """The settings of a box coder.

    Raises:
        UserError: the coder has another type, or limits the movement of centers.
    """
    check_part(f"{option}.bbox_coder", coder, "bbox_coder")
    if type(coder) is WeightedBoxCoder:
        return weighted_coder(coder.weights, LARGEST_LOG_SCALE, coder.clip_border)
    if coder.add_ctr_clamp:
        raise UserError(f"{option}.bbox_coder.add_ctr_clamp=True cannot be exported.")
    return mmdet_coder(coder.means, coder.stds, coder.clip_border)


def test_options(where: str, cfg: ConfigDict, needed: Iterable[str]) -> tuple[Convention, float]:
    """Check ``test_cfg.rpn`` or ``test_cfg.rcnn``.

    Args:
        where: its name, for messages.
        cfg: the options.
        needed: options that must be positive.

    Returns:
        The convention, and the IoU threshold of its NMS.

    Raises:
        UserError: the NMS or convention cannot be exported, or a number is not positive.
    """
    iou_threshold = plain_nms(cfg.get("nms"), also=("split_thr",))
    if iou_threshold is None:
        raise UserError(
            f"{where}.nms={cfg.get('nms')} cannot be exported: it must be dict(type='nms', "
            "iou_threshold=...)."
        )
    convention = conventions.find(f"{where}.convention", cfg.get("convention", "mmdet"))
    if not convention.exportable:
        raise UserError(f"{where}.convention={convention.name!r} cannot be exported.")
    for name in needed:
        if not cfg.get(name, -1) > 0:
            raise UserError(f"{where}.{name} must be positive to be exported, not {cfg.get(name)}.")
    return convention, iou_threshold


def pooling_of(option: str, extractor: nn.Module) -> Pooling:
    """The settings of a RoI extractor.

    Raises:
        UserError: the extractor has another type, or a layer other than RoIAlign with average
        pooling.
    """
    check_part(option, extractor, "roi_extractor")
    layer = extractor.roi_layers[0]
    check_part(f"{option}.roi_layer", layer, "roi_layer")
    if layer.pool_mode != "avg":
        raise UserError(
            f"{option}.roi_layer.pool_mode={layer.pool_mode!r} cannot be exported; accepted is "
            "'avg'."
        )
    size = layer.output_size
    if type(extractor) is LevelRoIExtractor:
        rule = (
            float(extractor.canonical_size),
            extractor.canonical_level,
            extractor.finest_level,
            extractor.level_rule,
        )
    else:
        rule = (float(extractor.finest_scale), 0, 0, "mmdet")
    return Pooling(
        output_size=(size, size) if isinstance(size, int) else tuple(size),
        scales=tuple(float(layer.spatial_scale) for layer in extractor.roi_layers),
        sampling_ratio=layer.sampling_ratio,
        aligned=bool(layer.aligned),
        level_rule=rule,
    )

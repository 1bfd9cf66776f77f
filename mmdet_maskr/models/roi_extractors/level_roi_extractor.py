"""The RoI extractor of box and mask branches: levels by the FPN rule, any of our RoI layers."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence

import torch
from mmdet.models.roi_heads.roi_extractors import BaseRoIExtractor
from mmdet.registry import MODELS
from mmdet.utils import ConfigType, OptMultiConfig
from torch import Tensor, nn

from mmdet_maskr import conventions
from mmdet_maskr.errors import UserError
from mmdet_maskr.models.roi_extractors.levels import assign_levels
from mmdet_maskr.ops import RoIAlign, RoIPool, RoIWarp
from mmdet_maskr.ops._checks import check_roi_shape

ROI_LAYERS = dict(RoIAlign=RoIAlign, RoIPool=RoIPool, RoIWarp=RoIWarp)
MEMORY_FORMATS = dict(
    preserve=None, contiguous=torch.contiguous_format, channels_last=torch.channels_last
)


@MODELS.register_module()
class LevelRoIExtractor(BaseRoIExtractor):
    """Pool RoIs from a feature pyramid, or from a single map such as that of a C4 or C5 backbone.

    With default options and strides from 4, it returns the same as mmdet's SingleRoIExtractor with
    the same options. Neither has parameters, so checkpoints fit both. Differences:

    - ``roi_layer=dict(type='RoIAlign' | 'RoIPool' | 'RoIWarp', ...)`` are the layers of
      :mod:`mmdet_maskr.ops`: on a CPU, RoIAlign pools from all levels in one product;
    - RoIs keep float32 in mixed precision: mmdet rounds them to the features' type, which moves
      them by up to 4 pixels in bfloat16;
    - the rule for levels can be Detectron2's or torchvision's to the last digit;
    - invalid RoIs raise an error.

    Args:
        roi_layer: type and options of the RoI layer; ``output_size`` at least.
        out_channels: C, channels of every map.
        featmap_strides: stride of each level, finest first. Level index i is the FPN level
            log2(featmap_strides[0]) + i.
        finest_scale: sqrt(area), in pixels, of the smallest RoIs above the finest level, at any
            stride. This is SingleRoIExtractor's option; it replaces the next two.
        canonical_size: sqrt(area), in pixels, of the RoIs that belong to the canonical level.
        canonical_level: level k has stride 2**k. 224 and 4, the defaults, are the FPN paper's, and
            the same rule as finest_scale=56, mmdet's default, at strides 4, 8, ...
        level_rule: 'mmdet', 'detectron2' or 'torchvision': the position of the epsilon.
        memory_format: memory format of the pooled RoIs. 'preserve' keeps that of the maps;
            'channels_last' also converts the maps, which is free if the model already uses it;
            'contiguous' is NCHW.
        init_cfg: for mmengine's BaseModule; there is nothing to initialize.

    Raises:
        UserError: the layer, rule, format or an option of the layer is unknown; strides do not
            increase; both ways to set the rule are used. The message has the accepted values.
    """

    def __init__(
        self,
        roi_layer: ConfigType,
        out_channels: int,
        featmap_strides: Sequence[int],
        finest_scale: float | None = None,
        canonical_size: float | None = None,
        canonical_level: int | None = None,
        level_rule: str = "mmdet",
        memory_format: str = "preserve",
        init_cfg: OptMultiConfig = None,
    ) -> None:
        conventions.find("level_rule", level_rule, "roi_level")
        _check_choice("memory_format", memory_format, MEMORY_FORMATS)
        super().__init__(roi_layer, out_channels, list(featmap_strides), init_cfg)
        given = dict(canonical_size=canonical_size, canonical_level=canonical_level)
        if finest_scale is None:
            self.finest_level = _finest_level(featmap_strides)
        elif given != dict(canonical_size=None, canonical_level=None):
            raise UserError(
                f"finest_scale={finest_scale} and {given} are two rules for the level of a RoI: "
                "leave one out."
            )
        else:  # levels are counted from the finest, at any stride
            canonical_size, canonical_level, self.finest_level = finest_scale, 0, 0
        self.canonical_size = 224 if canonical_size is None else canonical_size
        self.canonical_level = 4 if canonical_level is None else canonical_level
        if not self.canonical_size > 0:
            option = "canonical_size" if finest_scale is None else "finest_scale"
            raise UserError(f"{option} must be positive, in pixels, not {self.canonical_size!r}.")
        # mmdet's attribute: where RoIs leave level 0
        self.finest_scale = self.canonical_size * 2.0 ** (self.finest_level - self.canonical_level)
        self.level_rule = level_rule
        self.memory_format = memory_format

    def build_roi_layers(
        self, layer_cfg: ConfigType, featmap_strides: Sequence[int]
    ) -> nn.ModuleList:
        """One layer a level, as mmdet's code expects them in :attr:`roi_layers`."""
        options = dict(layer_cfg)
        name = options.pop("type", None)
        _check_choice("roi_layer.type", name, ROI_LAYERS)
        layer = ROI_LAYERS[name]
        if name == "RoIAlign":
            _check_torchvision(options)
        accepted = [p for p in inspect.signature(layer).parameters if p != "spatial_scale"]
        unknown = sorted(set(options) - set(accepted))
        if unknown or "output_size" not in options:
            what = f"has no option {unknown[0]!r}" if unknown else "needs output_size"
            raise UserError(f"roi_layer {name} {what}; its options are {accepted}.")
        return nn.ModuleList(
            layer(spatial_scale=1 / stride, **options) for stride in featmap_strides
        )

    def map_roi_levels(self, rois: Tensor, num_levels: int) -> Tensor:
        """(N,) int64 index of the level that each of (N, 5) RoIs is pooled from."""
        return assign_levels(
            rois,
            num_levels,
            self.canonical_size,
            self.canonical_level,
            self.finest_level,
            self.level_rule,
        )

    def forward(
        self, feats: Sequence[Tensor], rois: Tensor, roi_scale_factor: float | None = None
    ) -> Tensor:
        """Pool each RoI from its level.

        Args:
            feats: for each level (B, C, H_l, W_l).
            rois: (N, 5): image index in the batch, then x1, y1, x2, y2 in pixels of the network's
                input.
            roi_scale_factor: factor to enlarge boxes about their centers before pooling; the level
                is that of the original RoI.

        Returns:
            (N, C, height, width) in the dtype of the maps. The result depends on every level, also
            without RoIs.

        Raises:
            UserError: the number of levels or channels is wrong, or RoIs cannot be pooled.
        """
        if len(feats) != self.num_inputs:
            raise UserError(
                f"{type(self).__name__} has strides {self.featmap_strides}, so it needs "
                f"{self.num_inputs} levels, but got {len(feats)}."
            )
        for feature in feats:
            if feature.dim() != 4 or feature.shape[1] != self.out_channels:
                raise UserError(
                    f"{type(self).__name__} has out_channels={self.out_channels}, but a level is "
                    f"{tuple(feature.shape)}."
                )
        check_roi_shape(rois)
        rois = rois.to(torch.promote_types(rois.dtype, torch.float32))
        levels = self.map_roi_levels(rois, len(feats)) if len(feats) > 1 else None
        if roi_scale_factor is not None:
            rois = self.roi_rescale(rois, roi_scale_factor)
        memory_format = MEMORY_FORMATS[self.memory_format]
        if memory_format == torch.channels_last:
            feats = [feature.contiguous(memory_format=memory_format) for feature in feats]
        scales = [layer.spatial_scale for layer in self.roi_layers]
        pooled = self.roi_layers[0].pool_pyramid(feats, rois, levels, scales)
        return pooled if memory_format is None else pooled.contiguous(memory_format=memory_format)


def _check_torchvision(options: dict) -> None:
    """Take ``use_torchvision`` out of RoIAlign's options: torchvision's kernel computes the same.

    Raises:
        UserError: with ``pool_mode='max'``, which that kernel has not.
    """
    if options.pop("use_torchvision", False) and options.get("pool_mode", "avg") != "avg":
        raise UserError(
            "roi_layer RoIAlign: with use_torchvision=True, pool_mode must be 'avg'. Set "
            "use_torchvision=False for 'max'."
        )


def _check_choice(option: str, value: object, accepted: dict) -> None:
    if value not in accepted:
        raise UserError(f"{option} must be one of {list(accepted)}, not {value!r}.")


def _finest_level(strides: Sequence[int]) -> int:
    """FPN level of the finest stride."""
    if len(strides) == 0 or any(stride <= 0 for stride in strides):
        raise UserError(f"featmap_strides must be positive numbers, not {strides!r}.")
    if len(strides) == 1:
        return 0  # no levels to choose from: any stride does
    level = math.log2(strides[0])
    if level != int(level) or list(strides) != sorted(strides):
        raise UserError(
            "featmap_strides of a pyramid must be powers of two, finest first, for the FPN rule; "
            f"got {list(strides)}."
        )
    return int(level)

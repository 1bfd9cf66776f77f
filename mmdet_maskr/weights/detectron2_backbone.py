"""Detectron2's options of a backbone: what comes before the heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmdet.models.backbones import RegNet

from mmdet_maskr.errors import UserError
from mmdet_maskr.weights import config_parts
from mmdet_maskr.weights.detectron2_defaults import (
    ARCHITECTURES,
    REGNET_FPN,
    RESNET,
    SIMPLE_PYRAMID,
)

STAGES = ("res2", "res3", "res4", "res5")
MAPS = ["p2", "p3", "p4", "p5", "p6"]
STRIDES = dict(res2=4, res3=8, res4=16, res5=32, p2=4, p3=8, p4=16, p5=32, p6=64)


class Detectron2Backbone:
    """Backbone, neck and what the heads are built on, as parts of a config.

    Args:
        options: from :func:`.detectron2_options.read_options`.

    Raises:
        UserError: options that contradict each other or that this plugin has no part for.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options
        self.builder = options["MODEL.BACKBONE.NAME"]
        self.fpn = self.builder != RESNET
        self.panoptic = options["MODEL.META_ARCHITECTURE"] != ARCHITECTURES[0]
        self.roi_heads = options["MODEL.ROI_HEADS.NAME"]
        self.c4 = self.roi_heads == "Res5ROIHeads"
        self.cascade = self.roi_heads == "CascadeROIHeads"
        self.roi_features = list(options["MODEL.ROI_HEADS.IN_FEATURES"])
        self.rpn_features = list(options["MODEL.RPN.IN_FEATURES"])
        self.with_mask = options["MODEL.MASK_ON"]
        self.with_keypoints = options["MODEL.KEYPOINT_ON"]
        self._check_features()
        self.strides = STRIDES
        if options["MODEL.RESNETS.RES5_DILATION"] == 2:
            self.strides = dict(STRIDES, res5=16, p5=16, p6=32)

    def _check_features(self) -> None:
        """Check that the maps are those of an FPN, a C4 or a C5 backbone."""
        if self.fpn:
            expected = (MAPS, MAPS[:4], list(STAGES))
            given = (self.rpn_features, self.roi_features, self._get("MODEL.FPN.IN_FEATURES"))
            if self.builder in (REGNET_FPN, SIMPLE_PYRAMID):  # their stages have other names
                given = (*given[:2], expected[2])
            if self.c4:
                raise UserError("MODEL.ROI_HEADS.NAME: Res5ROIHeads does not work with an FPN.")
        else:
            expected = (["res4"] if self.c4 else ["res5"],) * 3
            given = (
                self.rpn_features,
                self.roi_features,
                self._get("MODEL.RESNETS.OUT_FEATURES"),
            )
        if given != expected:
            raise UserError(
                "MODEL.RPN.IN_FEATURES, MODEL.ROI_HEADS.IN_FEATURES and MODEL."
                f"{'FPN.IN' if self.fpn else 'RESNETS.OUT'}_FEATURES are {given}; supported here: "
                f"{expected}."
            )
        if self.cascade and not self.fpn:
            raise UserError("MODEL.ROI_HEADS.NAME: CascadeROIHeads is supported with an FPN only.")
        if self.panoptic and (self.cascade or not self.fpn or not self.with_mask):
            raise UserError(
                "MODEL.META_ARCHITECTURE PanopticFPN is supported with an FPN, StandardROIHeads "
                "and MODEL.MASK_ON: True."
            )
        if self.with_keypoints and (self.c4 or self.cascade):
            raise UserError(
                f"MODEL.KEYPOINT_ON with MODEL.ROI_HEADS.NAME {self.roi_heads}: not supported "
                "(StandardROIHeads is)."
            )

    def _get(self, name: str) -> Any:
        return self.options[name]

    @property
    def stage_channels(self) -> list[int]:
        """Output channels of res2 to res5, or of a RegNet's four stages."""
        if self.builder == REGNET_FPN:
            return RegNet(**self._regnet()).stage_widths
        return [self._get("MODEL.RESNETS.RES2_OUT_CHANNELS") * 2**i for i in range(4)]

    @property
    def map_channels(self) -> int:
        """Channels of the maps that RPN and RoIs see."""
        if self.fpn:
            return self._get("MODEL.FPN.OUT_CHANNELS")
        return self.stage_channels[2 if self.c4 else 3]

    @property
    def num_classes(self) -> int:
        """K, without the background."""
        return self._get("MODEL.ROI_HEADS.NUM_CLASSES")

    @property
    def backbone_norm(self) -> str:
        """Detectron2's name of the backbone's normalization."""
        return self._get(f"MODEL.{'REGNET' if self.builder == REGNET_FPN else 'RESNETS'}.NORM")

    def preprocessor(self) -> dict:
        """Mean and deviation are in the order of the channels that the network sees."""
        return dict(
            type="DetDataPreprocessor",
            mean=self._get("MODEL.PIXEL_MEAN"),
            std=self._get("MODEL.PIXEL_STD"),
            bgr_to_rgb=self._get("INPUT.FORMAT") == "RGB",
            pad_mask=True,
            pad_size_divisor=self._padding(),
        )

    def _padding(self) -> int:
        """Of what images' sides are made a multiple."""
        if self.builder == SIMPLE_PYRAMID:  # they are squares of one size
            return self._get("MODEL.VIT.IMG_SIZE")
        return 32 if self.fpn else 1

    def _norm(self) -> dict[str, Any]:
        kind = self.backbone_norm
        return dict(norm=config_parts.norm_cfg(kind), norm_eval=kind == "FrozenBN")

    def _widths(self) -> dict[str, Any]:
        groups = self._get("MODEL.RESNETS.NUM_GROUPS")
        return dict(
            depth=self._get("MODEL.RESNETS.DEPTH"),
            width=groups * self._get("MODEL.RESNETS.WIDTH_PER_GROUP"),
            out_channels=self.stage_channels[0],
            groups=groups,
        )

    def _style(self) -> str:
        return "caffe" if self._get("MODEL.RESNETS.STRIDE_IN_1X1") else "pytorch"

    def _regnet(self) -> dict:
        """mmdet's RegNet; its own initialization is left out."""
        option = "MODEL.REGNET."
        return dict(
            arch=dict(
                w0=self._get(option + "W_0"),
                wa=self._get(option + "W_A"),
                wm=self._get(option + "W_M"),
                group_w=self._get(option + "GROUP_WIDTH"),
                depth=self._get(option + "DEPTH"),
                bot_mul=1.0,
            ),
            stem_channels=self._get(option + "STEM_WIDTH"),
            frozen_stages=self._get("MODEL.BACKBONE.FREEZE_AT") - 1,
            norm_cfg=config_parts.norm_cfg(self.backbone_norm),
            norm_eval=self.backbone_norm == "FrozenBN",
            style="pytorch",
            init_cfg=None,
        )

    def _vit(self) -> dict:
        option = "MODEL.VIT."
        return dict(
            type="PlainViT",
            embed_dim=self._get(option + "EMBED_DIM"),
            depth=self._get(option + "DEPTH"),
            num_heads=self._get(option + "NUM_HEADS"),
            img_size=self._get(option + "IMG_SIZE"),
            window_size=self._get(option + "WINDOW_SIZE"),
            global_blocks=tuple(self._get(option + "GLOBAL_BLOCKS")),
            drop_path_rate=self._get(option + "DROP_PATH_RATE"),
        )

    def _deformable(self) -> dict[str, Any]:
        """Options for deformable convolutions, in the 3x3 layers of some stages."""
        stages = self._get("MODEL.RESNETS.DEFORM_ON_PER_STAGE")
        if not any(stages):
            return {}
        if self.c4 or self._get("MODEL.RESNETS.DEPTH") not in config_parts.DEPTHS_WITH_BOTTLENECKS:
            raise UserError(
                f"MODEL.RESNETS.DEFORM_ON_PER_STAGE: {stages} is supported with 50, 101 or 152 "
                "layers, and not with Res5ROIHeads."
            )
        kind = "DCNv2" if self._get("MODEL.RESNETS.DEFORM_MODULATED") else "DCN"
        groups = self._get("MODEL.RESNETS.DEFORM_NUM_GROUPS")
        dcn = dict(type=kind, deform_groups=groups, fallback_on_stride=False)
        return dict(dcn=dcn, stage_with_dcn=tuple(stages))

    def backbone(self) -> dict:
        """``model.backbone``."""
        if self.builder == REGNET_FPN:
            return dict(type="RegNet", **self._regnet())
        if self.builder == SIMPLE_PYRAMID:
            return self._vit()
        outputs = (0, 1, 2, 3) if self.fpn else ((2,) if self.c4 else (3,))
        config = config_parts.resnet(
            **self._widths(),
            **self._norm(),
            stem=self._get("MODEL.RESNETS.STEM_OUT_CHANNELS"),
            style=self._style(),
            # those that there are: a C4 model's res5 is a part of its head, which is not frozen
            frozen_stages=min(self._get("MODEL.BACKBONE.FREEZE_AT") - 1, max(outputs) + 1),
            dilated_c5=self._get("MODEL.RESNETS.RES5_DILATION") == 2,
            outputs=outputs,
        )
        deformable = self._deformable()
        if deformable and config["type"] == "FreeWidthResNet":
            raise UserError(
                "MODEL.RESNETS.DEFORM_ON_PER_STAGE is supported in a ResNet or ResNeXt of the "
                "usual widths only."
            )
        return dict(config, **deformable)

    def neck(self) -> dict | None:
        """``model.neck``; None for a backbone without a pyramid."""
        if not self.fpn:
            return None
        if self.builder == SIMPLE_PYRAMID:
            return dict(
                type="SimpleFeaturePyramid",
                in_channels=self._get("MODEL.VIT.EMBED_DIM"),
                out_channels=self.map_channels,
                num_outs=5,
            )
        norm = config_parts.norm_cfg(self._get("MODEL.FPN.NORM"))
        config = dict(
            type="FPN", in_channels=self.stage_channels, out_channels=self.map_channels, num_outs=5
        )
        return config if norm is None else dict(config, norm_cfg=norm)

    def shared_head(self) -> dict:
        """res5 of a C4 model."""
        sizes = self._widths()
        norm = self._norm()
        dilated = self._get("MODEL.RESNETS.RES5_DILATION") == 2
        if sizes["depth"] not in config_parts.DEPTHS_WITH_BOTTLENECKS:
            raise UserError("MODEL.RESNETS.DEPTH: a C4 model needs 50, 101 or 152 layers.")
        if sizes["groups"] == 1 and sizes["out_channels"] == 4 * sizes["width"] and not dilated:
            return dict(
                type="Res5Head",
                depth=sizes["depth"],
                base_channels=sizes["width"],
                stride=2,
                style=self._style(),
                norm_cfg=norm["norm"],
                norm_eval=norm["norm_eval"],
                init_cfg=None,
            )
        return dict(
            type="FreeWidthStage",
            depth=sizes["depth"],
            stage=3,
            stride=1 if dilated else 2,
            dilation=2 if dilated else 1,
            base_channels=sizes["width"],
            out_channels=sizes["out_channels"],
            groups=sizes["groups"],
            style=self._style(),
            norm_cfg=norm["norm"],
            norm_eval=norm["norm_eval"],
        )

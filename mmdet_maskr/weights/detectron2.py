"""Detectron2: from options to a config and a name map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmdet_maskr.errors import UserError
from mmdet_maskr.weights import detectron2_names, parts
from mmdet_maskr.weights import detectron2_settings as settings
from mmdet_maskr.weights.rename import NameMap

STAGES = ("res2", "res3", "res4", "res5")
STRIDES = dict(res2=4, res3=8, res4=16, res5=32, p2=4, p3=8, p4=16, p5=32, p6=64)


class Detectron2Model:
    """What the options say, as parts of a config.

    Args:
        options: from :func:`.detectron2_options.read_options`.

    Raises:
        UserError: options that contradict each other or that this plugin has no part for.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options
        self.fpn = options["MODEL.BACKBONE.NAME"] == "build_resnet_fpn_backbone"
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
        """Check that the maps are those of an FPN, a C4 or a C5 body."""
        if self.fpn:
            expected = (["p2", "p3", "p4", "p5", "p6"], ["p2", "p3", "p4", "p5"], list(STAGES))
            given = (self.rpn_features, self.roi_features, self._get("MODEL.FPN.IN_FEATURES"))
            if self.c4:
                raise UserError("MODEL.ROI_HEADS.NAME: Res5ROIHeads cannot go with an FPN.")
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
        if self.with_keypoints and (self.c4 or self.cascade):
            raise UserError(
                f"MODEL.KEYPOINT_ON with MODEL.ROI_HEADS.NAME {self.roi_heads}: not supported "
                "(StandardROIHeads is)."
            )

    def _get(self, name: str) -> Any:
        return self.options[name]

    @property
    def stage_channels(self) -> list[int]:
        """Output channels of res2 to res5."""
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

    def preprocessor(self) -> dict:
        """Mean and deviation are in the order of the channels that the network sees."""
        return dict(
            type="DetDataPreprocessor",
            mean=self._get("MODEL.PIXEL_MEAN"),
            std=self._get("MODEL.PIXEL_STD"),
            bgr_to_rgb=self._get("INPUT.FORMAT") == "RGB",
            pad_mask=True,
            pad_size_divisor=32 if self.fpn else 1,
        )

    def _norm(self) -> dict[str, Any]:
        kind = self._get("MODEL.RESNETS.NORM")
        return dict(norm=parts.norm_cfg(kind), norm_eval=kind == "FrozenBN")

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

    def backbone(self) -> dict:
        """``model.backbone``."""
        outputs = (0, 1, 2, 3) if self.fpn else ((2,) if self.c4 else (3,))
        return parts.resnet(
            **self._widths(),
            **self._norm(),
            stem=self._get("MODEL.RESNETS.STEM_OUT_CHANNELS"),
            style=self._style(),
            # those that there are: a C4 model's res5 is a part of its head, which is not frozen
            frozen_stages=min(self._get("MODEL.BACKBONE.FREEZE_AT") - 1, max(outputs) + 1),
            dilated_c5=self._get("MODEL.RESNETS.RES5_DILATION") == 2,
            outputs=outputs,
        )

    def neck(self) -> dict | None:
        """``model.neck``; None for a body without a pyramid."""
        if not self.fpn:
            return None
        norm = parts.norm_cfg(self._get("MODEL.FPN.NORM"))
        config = dict(
            type="FPN", in_channels=self.stage_channels, out_channels=self.map_channels, num_outs=5
        )
        return config if norm is None else dict(config, norm_cfg=norm)

    def shared_head(self) -> dict:
        """res5 of a C4 model."""
        sizes = self._widths()
        norm = self._norm()
        dilated = self._get("MODEL.RESNETS.RES5_DILATION") == 2
        if sizes["depth"] not in parts.DEPTHS_WITH_BOTTLENECKS:
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

    def rpn_head(self) -> dict:
        """``model.rpn_head``.

        Raises:
            UserError: an RPN that this plugin has no part for.
        """
        dims = self._get("MODEL.RPN.CONV_DIMS")
        widths = {self.map_channels if dim == -1 else dim for dim in dims}
        if len(widths) != 1:
            raise UserError(f"MODEL.RPN.CONV_DIMS: {dims} (supported: all of one width).")
        levels = len(self.rpn_features)
        sizes = _per_level("SIZES", self._get("MODEL.ANCHOR_GENERATOR.SIZES"), levels)
        ratios = _per_level(
            "ASPECT_RATIOS", self._get("MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS"), levels
        )
        if any(level != ratios[0] for level in ratios):
            raise UserError(
                f"MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS: {ratios} (supported: the same on all "
                "levels)."
            )
        weight = self._get("MODEL.RPN.LOSS_WEIGHT")
        box_weight = weight * self._get("MODEL.RPN.BBOX_REG_LOSS_WEIGHT")
        config = dict(
            type="SampledRPNHead",
            in_channels=self.map_channels,
            feat_channels=widths.pop(),
            anchor_generator=parts.anchors(
                [self.strides[name] for name in self.rpn_features],
                sizes,
                ratios[0],
                settings.CONVENTION,
                self._get("MODEL.ANCHOR_GENERATOR.OFFSET"),
            ),
            bbox_coder=parts.box_coder(self._get("MODEL.RPN.BBOX_REG_WEIGHTS")),
            loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=True, loss_weight=weight),
            loss_bbox=parts.box_loss(self._get("MODEL.RPN.SMOOTH_L1_BETA"), box_weight),
        )
        return config if len(dims) == 1 else dict(config, num_convs=len(dims))

    def _extractor(self, head: str, channels: int | None = None) -> dict:
        prefix = f"MODEL.{head}.POOLER_"
        return parts.roi_extractor(
            self._get(prefix + "RESOLUTION"),
            channels or self.map_channels,
            [self.strides[name] for name in self.roi_features],
            settings.CONVENTION,
            self._get(prefix + "SAMPLING_RATIO"),
            aligned=self._get(prefix + "TYPE") == "ROIAlignV2",
        )

    def _res5_size(self) -> int:
        """Side of res5's output on RoIs."""
        size = self._get("MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION")
        return size if self._get("MODEL.RESNETS.RES5_DILATION") == 2 else (size + 1) // 2

    def _box_head(self, weights: list[float]) -> dict:
        loss = parts.box_loss(
            self._get("MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA"),
            self._get("MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_WEIGHT"),
        )
        agnostic = self._get("MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG")
        if self.c4:
            return dict(
                type="BBoxHead",
                with_avg_pool=True,
                roi_feat_size=self._res5_size(),
                in_channels=self.stage_channels[3],
                num_classes=self.num_classes,
                bbox_coder=parts.box_coder(weights),
                reg_class_agnostic=agnostic,
                loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
                loss_bbox=loss,
            )
        if self._get("MODEL.ROI_BOX_HEAD.NUM_FC") < 1:
            raise UserError("MODEL.ROI_BOX_HEAD.NUM_FC: 0 (supported: 1 or more).")
        return parts.box_head(
            self.map_channels,
            self._get("MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION"),
            self.num_classes,
            self._get("MODEL.ROI_BOX_HEAD.NUM_CONV"),
            self._get("MODEL.ROI_BOX_HEAD.CONV_DIM"),
            self._get("MODEL.ROI_BOX_HEAD.NUM_FC"),
            self._get("MODEL.ROI_BOX_HEAD.FC_DIM"),
            parts.norm_cfg(self._get("MODEL.ROI_BOX_HEAD.NORM")),
            weights,
            loss,
            agnostic,
        )

    def _mask_head(self) -> dict:
        convs = self._get("MODEL.ROI_MASK_HEAD.NUM_CONV")
        norm = parts.norm_cfg(self._get("MODEL.ROI_MASK_HEAD.NORM"))
        config = dict(
            type="ComposedMaskHead",
            num_convs=convs,
            in_channels=self.stage_channels[3] if self.c4 else self.map_channels,
            conv_out_channels=self._get("MODEL.ROI_MASK_HEAD.CONV_DIM"),
            num_classes=self.num_classes,
            loss_mask=dict(type="CrossEntropyLoss", use_mask=True, loss_weight=1.0),
        )
        if self._get("MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK"):
            config["class_agnostic"] = True
        if self.c4:
            config.update(roi_feat_size=self._res5_size())
            if convs == 0:
                config.update(tower="res5")
        return config if norm is None or not convs else dict(config, norm_cfg=norm)

    def _mask_size(self) -> int:
        """Side of the masks: the deconvolution doubles the RoI features'."""
        if self.c4:
            return 2 * self._res5_size()
        return 2 * self._get("MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION")

    def _keypoint_head(self) -> dict:
        dims = self._get("MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS")
        if len(set(dims)) != 1:
            raise UserError(
                f"MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS: {dims} (supported: all of one width)."
            )
        by_visible = self._get("MODEL.ROI_KEYPOINT_HEAD.NORMALIZE_LOSS_BY_VISIBLE_KEYPOINTS")
        weight = self._get("MODEL.ROI_KEYPOINT_HEAD.LOSS_WEIGHT")
        config = dict(
            type="HeatmapKeypointHead",
            num_convs=len(dims),
            in_channels=self.map_channels,
            conv_out_channels=dims[0],
            num_keypoints=self._get("MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS"),
        )
        if not by_visible:
            config["loss_normalizer"] = "fixed"
        if weight != 1:
            config["loss_weight"] = weight
        return config

    def roi_head(self) -> dict:
        """``model.roi_head`` with its extractors and heads."""
        weights = self._get("MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS")
        channels = self.map_channels
        config: dict[str, Any] = dict(
            type="ParallelRoIHead",
            bbox_roi_extractor=self._extractor("ROI_BOX_HEAD", channels),
            bbox_head=self._box_head(weights),
        )
        if self.c4:
            config["shared_head"] = self.shared_head()
        if self.cascade:
            stages = self._get("MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS")
            config.update(
                type="AveragedCascadeRoIHead",
                num_stages=len(stages),
                stage_loss_weights=[1.0] * len(stages),
                bbox_head=[self._box_head(stage) for stage in stages],
            )
        config["mask_head"] = config["mask_roi_extractor"] = None
        if self.with_mask:
            config["mask_head"] = self._mask_head()
            # A C4 model's masks share the box branch's RoI features.
            config["mask_roi_extractor"] = None if self.c4 else self._extractor("ROI_MASK_HEAD")
        if self.with_keypoints:
            config["keypoint_head"] = self._keypoint_head()
            config["keypoint_roi_extractor"] = self._extractor("ROI_KEYPOINT_HEAD")
        return config

    def model(self, base: dict) -> dict:
        """The ``model`` of the config.

        Args:
            base: ``model`` of the base config, for what the options do not say.
        """
        return dict(
            type="MaskRCNN",
            data_preprocessor=self.preprocessor(),
            backbone=self.backbone(),
            neck=self.neck(),
            rpn_head=self.rpn_head(),
            roi_head=self.roi_head(),
            train_cfg=settings.train_cfg(
                self.options, base["train_cfg"], self.cascade, self._mask_size()
            ),
            test_cfg=settings.test_cfg(self.options),
        )

    def pipelines(self) -> dict[str, list[dict]]:
        """``train_pipeline`` and ``test_pipeline``."""
        return settings.pipelines(self.options)

    def class_names(self) -> tuple[str, ...] | None:
        """Names of the classes, which a checkpoint does not have; None for the data set's own."""
        return parts.class_names(range(self.num_classes), self.with_keypoints)

    def name_map(self) -> NameMap:
        """How Detectron2's tensors become this model's."""
        stages = len(self._get("MODEL.ROI_BOX_CASCADE_HEAD.IOUS"))
        return NameMap(
            rules=detectron2_names.rules(mask_copies=stages if self.cascade else 0),
            drops=detectron2_names.DROPS,
            variables=dict(
                norm=parts.norm_name(self._get("MODEL.RESNETS.NORM")),
                fpn_norm=parts.norm_name(self._get("MODEL.FPN.NORM")),
                box_norm=parts.norm_name(self._get("MODEL.ROI_BOX_HEAD.NORM")),
                mask_norm=parts.norm_name(self._get("MODEL.ROI_MASK_HEAD.NORM")),
            ),
            defaults={r".*\.num_batches_tracked": 0},
        )


def _per_level(option: str, values: list, levels: int) -> list[list]:
    """One list for each level: Detectron2 repeats a single one.

    Raises:
        UserError: another number of lists.
    """
    if not values or not isinstance(values[0], list):
        values = [values]
    values = values * levels if len(values) == 1 else values
    if len(values) != levels or not values[0]:
        raise UserError(
            f"MODEL.ANCHOR_GENERATOR.{option} must have one list or {levels}, not {values}."
        )
    return values

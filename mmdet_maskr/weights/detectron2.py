"""Detectron2: from options to a config and a name map."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mmdet_maskr.errors import UserError
from mmdet_maskr.weights import config_parts, detectron2_names
from mmdet_maskr.weights import detectron2_settings as settings
from mmdet_maskr.weights.detectron2_backbone import Detectron2Backbone
from mmdet_maskr.weights.rename import NameMap


class Detectron2Model(Detectron2Backbone):
    """What the options say, as a model, its pipelines and names of its tensors."""

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
            anchor_generator=config_parts.anchors(
                [self.strides[name] for name in self.rpn_features],
                sizes,
                ratios[0],
                settings.CONVENTION,
                self._get("MODEL.ANCHOR_GENERATOR.OFFSET"),
            ),
            bbox_coder=config_parts.box_coder(self._get("MODEL.RPN.BBOX_REG_WEIGHTS")),
            loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=True, loss_weight=weight),
            loss_bbox=config_parts.box_loss(self._get("MODEL.RPN.SMOOTH_L1_BETA"), box_weight),
        )
        return config if len(dims) == 1 else dict(config, num_convs=len(dims))

    def _extractor(self, head: str, channels: int | None = None) -> dict:
        prefix = f"MODEL.{head}.POOLER_"
        return config_parts.roi_extractor(
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
        loss = config_parts.box_loss(
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
                bbox_coder=config_parts.box_coder(weights),
                reg_class_agnostic=agnostic,
                loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
                loss_bbox=loss,
            )
        if self._get("MODEL.ROI_BOX_HEAD.NUM_FC") < 1:
            raise UserError("MODEL.ROI_BOX_HEAD.NUM_FC: 0 (supported: 1 or more).")
        return config_parts.box_head(
            channels=self.map_channels,
            size=self._get("MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION"),
            num_classes=self.num_classes,
            convs=self._get("MODEL.ROI_BOX_HEAD.NUM_CONV"),
            conv_channels=self._get("MODEL.ROI_BOX_HEAD.CONV_DIM"),
            fcs=self._get("MODEL.ROI_BOX_HEAD.NUM_FC"),
            fc_channels=self._get("MODEL.ROI_BOX_HEAD.FC_DIM"),
            norm=config_parts.norm_cfg(self._get("MODEL.ROI_BOX_HEAD.NORM")),
            weights=weights,
            loss=loss,
            class_agnostic=agnostic,
        )

    def _mask_head(self) -> dict:
        convs = self._get("MODEL.ROI_MASK_HEAD.NUM_CONV")
        norm = config_parts.norm_cfg(self._get("MODEL.ROI_MASK_HEAD.NORM"))
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
        config = dict(
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
        return settings.panoptic(self.options, config, base) if self.panoptic else config

    def pipelines(self) -> dict[str, list[dict]]:
        """``train_pipeline`` and ``test_pipeline``."""
        return settings.pipelines(self.options)

    def class_names(self) -> tuple[str, ...] | None:
        """Names of the classes, which a checkpoint does not have; None for the dataset's own."""
        return config_parts.class_names(range(self.num_classes), self.with_keypoints)

    def name_map(self) -> NameMap:
        """How Detectron2's tensors become this model's."""
        stages = len(self._get("MODEL.ROI_BOX_CASCADE_HEAD.IOUS"))
        return NameMap(
            rules=detectron2_names.rules(mask_copies=stages if self.cascade else 0),
            drops=detectron2_names.DROPS,
            variables=dict(
                norm=config_parts.norm_name(self.backbone_norm),
                fpn_norm=config_parts.norm_name(self._get("MODEL.FPN.NORM")),
                box_norm=config_parts.norm_name(self._get("MODEL.ROI_BOX_HEAD.NORM")),
                mask_norm=config_parts.norm_name(self._get("MODEL.ROI_MASK_HEAD.NORM")),
            ),
            changes={r"semantic_head\.conv_logits\..*": _things_last},
            defaults={r".*\.num_batches_tracked": 0},
        )


def _things_last(logits: Tensor) -> Tensor:
    """Rows of the semantic classes: Detectron2 has all things as the first, mmdet as the last."""
    return logits.roll(-1, 0)


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

"""torchvision: from the shapes of a state dict to a config and a name map."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mmdet_maskr.errors import UserError
from mmdet_maskr.weights import config_parts, torchvision_names
from mmdet_maskr.weights.rename import NameMap

CONVENTION = "torchvision"
COCO_IDS = 91  # with the background as id 0
UNUSED_COCO_IDS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
# Blocks of the third stage, which tell the depth, and of the second.
DEPTHS = {(4, 6): 50, (4, 23): 101, (8, 36): 152}
BASIC_DEPTHS = {(2, 2): 18, (4, 6): 34}
STRIDES = (4, 8, 16, 32, 64)
ANCHOR_SIZES = ((32,), (64,), (128,), (256,), (512,))
ANCHOR_RATIOS = (0.5, 1.0, 2.0)
MEAN = (0.485, 0.456, 0.406)  # of RGB, 0 to 1
STD = (0.229, 0.224, 0.225)
BETA = 1 / 9  # of the smooth L1 losses
# Ported from another codebase, these weights want no epsilon in batch normalization: torchvision
# sets it to 0 when it loads them.
ZERO_EPS_FILES = r"(maskrcnn|keypointrcnn)_resnet50_fpn_coco-.*"


class TorchvisionModel:
    """What a state dict says, as parts of a config.

    Args:
        state: maskrcnn_resnet50_fpn, its v2, keypointrcnn_resnet50_fpn, or such a model with
            another ResNet or other widths.
        keep_unused: keep COCO's unused ids as classes, instead of as mere shares of the softmax.
        norm_eps: of the backbone's normalization.

    Raises:
        UserError: not a model of this kind.
    """

    def __init__(
        self, state: Mapping[str, Tensor], keep_unused: bool = False, norm_eps: float = 1e-5
    ) -> None:
        self.state = state
        needed = ("backbone.body.conv1.weight", "rpn.head.cls_logits.weight")
        lacking = [
            name
            for name in (*needed, "roi_heads.box_predictor.cls_score.weight")
            if name not in state
        ]
        if lacking:
            raise UserError(
                f"not a torchvision R-CNN with a ResNet-FPN: there is no tensor {lacking[0]}."
            )
        self.norm_eps = norm_eps
        self.with_mask = "roi_heads.mask_predictor.mask_fcn_logits.weight" in state
        self.with_keypoints = "roi_heads.keypoint_predictor.kps_score_lowres.weight" in state
        self.channels = self._shape("rpn.head.cls_logits.weight")[1]
        self.box_convs = self._count(r"roi_heads\.box_head\.(\d)\.0\.weight")
        self.rpn_convs = self._count(r"rpn\.head\.conv\.(\d)\.0\.weight") or 1
        self.source_classes = self._shape("roi_heads.box_predictor.cls_score.weight")[0]
        self.keep_unused = keep_unused
        unused = UNUSED_COCO_IDS if self.source_classes == COCO_IDS and not keep_unused else ()
        self.unused = list(unused)
        # Index in the source's logits of each class here; the background is 0 there.
        self.labels = [i for i in range(1, self.source_classes) if i not in unused]
        anchors = self._shape("rpn.head.cls_logits.weight")[0]
        if anchors != len(ANCHOR_RATIOS):
            raise UserError(
                f"rpn.head.cls_logits has {anchors} anchors per cell; torchvision's models with "
                f"an FPN have {len(ANCHOR_RATIOS)}. A state dict does not contain the sizes of "
                "other anchors."
            )

    def _shape(self, name: str) -> tuple[int, ...]:
        if name not in self.state:
            raise UserError(f"not a known torchvision model: there is no tensor {name}.")
        return tuple(self.state[name].shape)

    def _count(self, pattern: str) -> int:
        """How many different numbers group 1 has among the names."""
        matches = (re.match(pattern, name) for name in self.state)
        return len({match.group(1) for match in matches if match})

    @property
    def num_classes(self) -> int:
        """K, without the background."""
        return len(self.labels)

    # ------------------------------------------------------------------ config_parts

    def preprocessor(self) -> dict:
        """Statistics are those of pixels from 0 to 1."""
        return dict(
            type="UnitRangePreprocessor",
            mean=list(MEAN),
            std=list(STD),
            bgr_to_rgb=True,
            pad_mask=True,
            pad_size_divisor=32,
        )

    def _stage_channels(self) -> list[int]:
        return [
            self._shape(f"backbone.fpn.inner_blocks.{i}{self._block}.weight")[1] for i in range(4)
        ]

    @property
    def _block(self) -> str:
        """What stands between a block's number and its parameters, since version 0.13."""
        return ".0" if "backbone.fpn.inner_blocks.0.0.weight" in self.state else ""

    def backbone(self) -> dict:
        """``model.backbone``."""
        first = "backbone.body.layer1.0."
        bottlenecks = first + "conv3.weight" in self.state
        blocks = tuple(
            self._count(rf"backbone\.body\.layer{stage}\.(\d+)\.conv1\.weight") for stage in (2, 3)
        )
        depths = DEPTHS if bottlenecks else BASIC_DEPTHS
        if blocks not in depths:
            raise UserError(f"a ResNet with {blocks} blocks in its middle stages is not known.")
        width = self._shape(first + "conv1.weight")[0]
        trains = any(name.endswith("bn1.num_batches_tracked") for name in self.state)
        norm = (config_parts.norm_cfg("BN") if trains else None) or dict(type="UnfusedFrozenBN")
        if self.norm_eps != 1e-5:
            norm["eps"] = self.norm_eps
        last = "conv3" if bottlenecks else "conv2"
        return config_parts.resnet(
            depth=depths[blocks],
            width=width,
            out_channels=self._shape(f"{first}{last}.weight")[0],
            groups=width // self._shape(first + "conv2.weight")[1],
            stem=self._shape("backbone.body.conv1.weight")[0],
            style="pytorch",
            norm=norm,
            norm_eval=not trains,
            frozen_stages=1,
        )

    def neck(self) -> dict:
        """``model.neck``."""
        config = dict(
            type="FPN",
            in_channels=self._stage_channels(),
            out_channels=self.channels,
            num_outs=5,
        )
        if "backbone.fpn.inner_blocks.0.1.weight" in self.state:
            config["norm_cfg"] = config_parts.norm_cfg("BN")
        return config

    def rpn_head(self) -> dict:
        """``model.rpn_head``."""
        config = dict(
            type="SampledRPNHead",
            in_channels=self.channels,
            feat_channels=self.channels,
            anchor_generator=config_parts.anchors(STRIDES, ANCHOR_SIZES, ANCHOR_RATIOS, CONVENTION),
            bbox_coder=config_parts.box_coder((1, 1, 1, 1)),
            loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=True, loss_weight=1.0),
            loss_bbox=config_parts.box_loss(BETA),
        )
        return config if self.rpn_convs == 1 else dict(config, num_convs=self.rpn_convs)

    def _extractor(self, size: int) -> dict:
        return config_parts.roi_extractor(
            size, self.channels, STRIDES[:4], CONVENTION, ratio=2, aligned=False
        )

    def _box_head(self) -> dict:
        if self.box_convs:
            fc = f"roi_heads.box_head.{self.box_convs + 1}.weight"
            conv_channels, fcs = self._shape("roi_heads.box_head.0.0.weight")[0], 1
        else:
            fc, conv_channels, fcs = "roi_heads.box_head.fc6.weight", self.channels, 2
        fc_channels, inputs = self._shape(fc)
        with_norm = "roi_heads.box_head.0.1.weight" in self.state
        config = config_parts.box_head(
            channels=self.channels,
            size=round((inputs / conv_channels) ** 0.5),
            num_classes=self.num_classes,
            convs=self.box_convs,
            conv_channels=conv_channels,
            fcs=fcs,
            fc_channels=fc_channels,
            norm=config_parts.norm_cfg("BN") if with_norm else None,
            weights=(10, 10, 5, 5),
            loss=config_parts.box_loss(BETA),
            class_agnostic=False,
        )
        if self.unused:
            config["loss_cls"] = dict(
                type="UnusedClassesCrossEntropyLoss",
                num_unused=len(self.unused),
                loss_weight=1.0,
            )
        return config

    def _mask_head(self) -> dict:
        convs = self._count(r"roi_heads\.mask_head\.(\d|mask_fcn\d)(?:\.0)?\.weight")
        name = "0.0" if "roi_heads.mask_head.0.0.weight" in self.state else "mask_fcn1"
        width = self._shape("roi_heads.mask_predictor.conv5_mask.weight")[1]
        if self._shape(f"roi_heads.mask_head.{name}.weight")[0] != width:
            raise UserError("a mask head whose layers differ in width is not known.")
        config = dict(
            type="ComposedMaskHead",
            num_convs=convs,
            in_channels=self.channels,
            conv_out_channels=width,
            num_classes=self.num_classes,
            loss_mask=dict(type="CrossEntropyLoss", use_mask=True, loss_weight=1.0),
        )
        if "roi_heads.mask_head.0.1.weight" in self.state:
            config["norm_cfg"] = config_parts.norm_cfg("BN")
        return config

    def _keypoint_head(self) -> dict:
        width, keypoints = self._shape("roi_heads.keypoint_predictor.kps_score_lowres.weight")[:2]
        return dict(
            type="HeatmapKeypointHead",
            num_convs=self._count(r"roi_heads\.keypoint_head\.(\d+)\.weight"),
            in_channels=self.channels,
            conv_out_channels=width,
            num_keypoints=keypoints,
            score="logit",
        )

    def roi_head(self) -> dict:
        """``model.roi_head`` with its extractors and heads."""
        box_head = self._box_head()
        config: dict[str, Any] = dict(
            type="ParallelRoIHead",
            bbox_roi_extractor=self._extractor(box_head["roi_feat_size"]),
            bbox_head=box_head,
        )
        config["mask_head"] = config["mask_roi_extractor"] = None
        if self.with_mask:
            config["mask_head"] = self._mask_head()
            config["mask_roi_extractor"] = self._extractor(14)
        if self.with_keypoints:
            config["keypoint_head"] = self._keypoint_head()
            config["keypoint_roi_extractor"] = self._extractor(14)
        return config

    def _proposals(self, before: int, after: int) -> dict:
        return dict(
            nms_pre=before,
            max_per_img=after,
            nms=dict(type="nms", iou_threshold=0.7),
            min_bbox_size=1e-3,
            convention=CONVENTION,
        )

    def model(self, base: dict) -> dict:
        """The ``model`` of the config.

        Args:
            base: ``model`` of the base config, for how it is trained.
        """
        train_cfg = dict(base["train_cfg"], rpn_proposal=self._proposals(2000, 2000))
        assigner = dict(train_cfg["rcnn"]["assigner"], match_low_quality=False)
        train_cfg["rcnn"] = dict(train_cfg["rcnn"], assigner=assigner)
        rcnn = dict(
            score_thr=0.05,
            nms=dict(type="nms", iou_threshold=0.5),
            max_per_img=100,
            mask_thr_binary=0.5,
            min_bbox_size=1e-2,
            convention=CONVENTION,
        )
        return dict(
            type="MaskRCNN",
            data_preprocessor=self.preprocessor(),
            backbone=self.backbone(),
            neck=self.neck(),
            rpn_head=self.rpn_head(),
            roi_head=self.roi_head(),
            train_cfg=train_cfg,
            test_cfg=dict(rpn=self._proposals(1000, 1000), rcnn=rcnn),
        )

    def pipelines(self) -> dict[str, list[dict]]:
        """``train_pipeline`` and ``test_pipeline``."""
        scale = (1333, 800)
        return config_parts.pipelines(CONVENTION, scale, [scale], keypoints=self.with_keypoints)

    def class_names(self) -> tuple[str, ...] | None:
        """Names of the classes; None for COCO's 80."""
        if self.source_classes == COCO_IDS:
            if not self.keep_unused:
                return None
            return tuple(f"coco_id_{label}" for label in self.labels)
        return config_parts.class_names(self.labels, self.with_keypoints)

    def name_map(self) -> NameMap:
        """How torchvision's tensors become this model's: the background goes last."""
        rows = [*self.labels, 0, *self.unused]

        def classes(tensor: Tensor) -> Tensor:
            return tensor[rows]

        def boxes(tensor: Tensor) -> Tensor:
            return tensor.unflatten(0, (-1, 4))[self.labels].flatten(0, 1)

        def masks(tensor: Tensor) -> Tensor:
            return tensor[self.labels]

        return NameMap(
            rules=torchvision_names.rules(self.rpn_convs, self.box_convs),
            changes={
                r"roi_head\.bbox_head\.fc_cls\..*": classes,
                r"roi_head\.bbox_head\.fc_reg\..*": boxes,
                r"roi_head\.mask_head\.conv_logits\..*": masks,
            },
            defaults={r".*\.num_batches_tracked": 0},
        )

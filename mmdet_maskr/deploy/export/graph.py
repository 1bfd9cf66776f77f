"""The whole detector as one traceable module: pixels in, detections out.

Symbols: H x W the image at the network's size, N proposals, D detections, P of them with keypoints,
K classes, m and S the sides of masks and heatmaps.
"""

from __future__ import annotations

from types import ModuleType

import torch
import torch.nn.functional as F
from mmengine.config import ConfigDict
from torch import Tensor, nn

from mmdet_maskr.deploy.export import accepted
from mmdet_maskr.deploy.export.boxes import (
    NOTHING,
    NOTHING_THRESHOLD,
    anchors_at,
    best,
    is_finite,
    something,
)
from mmdet_maskr.deploy.export.heads import KeypointBranch, MaskBranch, shared
from mmdet_maskr.deploy.export.pooling import Pooler
from mmdet_maskr.errors import UserError
from mmdet_maskr.models.data_preprocessors import BandsDataPreprocessor, UnitRangePreprocessor

INPUT = "image"


class ExportableDetector(nn.Module):
    """A two-stage detector of mmdet or ours, without data-dependent Python control flow.

    Args:
        model: the built detector, in evaluation mode.
        kernels: module with ``nms`` and ``roi_align``: :mod:`.onnx_kernels`,
            :mod:`.script_kernels`.

    Raises:
        UserError: a part or an option cannot be exported.
    """

    def __init__(self, model: nn.Module, kernels: ModuleType) -> None:
        super().__init__()
        accepted.check_model(model)
        head = model.roi_head
        self.preprocess = Preprocess(model.data_preprocessor)
        self.backbone = model.backbone
        self.neck = model.neck if model.with_neck else None
        self.rpn = Proposals(model.rpn_head, model.test_cfg.rpn, kernels)
        self.boxes = BoxBranch(head, model.test_cfg.rcnn, kernels)
        self.masks = MaskBranch(head, kernels) if head.with_mask else None
        self.keypoints = None
        if getattr(head, "with_keypoint", False):
            self.keypoints = KeypointBranch(head, kernels)

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs of :meth:`forward`, in order."""
        names = ["boxes", "scores", "labels"]
        if self.masks is not None:
            names.append("masks")
        if self.keypoints is not None:
            names += ["heatmaps", "heatmap_rows"]
        return names

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Detect on one image.

        Args:
            image: (1, 3, H, W) float32, 0 to 255, BGR as from ``cv2.imread``; for a model of bands
                (1, C, H, W), in the units of the files.

        Returns:
            The outputs of :attr:`output_names`: boxes (D, 4) xyxy in pixels of the input; scores
            (D,), highest first; labels (D,) int64; masks (D, m, m), mask probabilities for the
            label; heatmaps (P, K, S, S), logits; heatmap_rows (P,) int64, the index of each
            heatmap's detection.
        """
        shape = torch._shape_as_tensor(image)
        limits = torch.stack([shape[3], shape[2], shape[3], shape[2]]).to(image)
        features = self.backbone(self.preprocess(image))
        if self.neck is not None:
            features = self.neck(features)
        proposals = self.rpn(features, limits)
        boxes, scores, labels = self.boxes(features, proposals, limits)
        outputs = [boxes, scores, labels]
        if self.masks is not None:
            outputs.append(self.masks(features, boxes, labels))
        if self.keypoints is not None:
            outputs += self.keypoints(features, boxes, labels)
        return tuple(outputs)


class Preprocess(nn.Module):
    """Normalization and padding as in DetDataPreprocessor.

    Raises:
        UserError: the normalization is not one mean and standard deviation per channel.
    """

    def __init__(self, preprocessor: nn.Module) -> None:
        super().__init__()
        unit = isinstance(preprocessor, UnitRangePreprocessor)
        self.scale = 255.0 if unit else 1.0
        self.swaps = bool(preprocessor._channel_conversion)
        self.divisor = int(preprocessor.pad_size_divisor)
        self.normalizes = bool(preprocessor._enable_normalize)
        self.pad_value = float(preprocessor.pad_value)
        self.bands = 3
        if self.normalizes:
            self.bands = preprocessor.mean.numel()
            for name in ("mean", "std"):
                values = getattr(preprocessor, name)
                of_bands = isinstance(preprocessor, BandsDataPreprocessor)
                if values.numel() != 3 and not of_bands:
                    raise UserError(
                        f"data_preprocessor.{name} must have 3 numbers to be exported, not "
                        f"{values.numel()}."
                    )
                self.register_buffer(name, values.detach().view(1, -1, 1, 1).float())

    def forward(self, image: Tensor) -> Tensor:
        """(1, C, H, W) -> (1, C, H', W'), multiples of the size divisor."""
        if self.scale != 1.0:
            image = image / self.scale
        if self.swaps:
            image = image.flip(1)
        if self.normalizes:
            image = (image - self.mean) / self.std
        if self.divisor > 1:
            height, width = image.shape[2], image.shape[3]
            bottom = (height + self.divisor - 1) // self.divisor * self.divisor - height
            right = (width + self.divisor - 1) // self.divisor * self.divisor - width
            image = F.pad(image, (0, right, 0, bottom), value=self.pad_value)
        return image


class Proposals(nn.Module):
    """The RPN: the best boxes of each level, NMS within levels, the best boxes overall.

    Raises:
        UserError: objectness has a softmax, or anchors have torchvision's convention.
    """

    def __init__(self, head: nn.Module, cfg: ConfigDict, kernels: ModuleType) -> None:
        super().__init__()
        self.convention, self.iou_threshold = accepted.test_options(
            "test_cfg.rpn", cfg, ("nms_pre", "max_per_img")
        )
        if not head.use_sigmoid_cls:
            raise UserError("rpn_head.loss_cls.use_sigmoid=False cannot be exported.")
        generator = head.prior_generator
        if getattr(generator, "convention", "detectron2") == "torchvision":
            raise UserError(
                "rpn_head.anchor_generator.convention='torchvision' cannot be exported; accepted "
                "is 'detectron2'."
            )
        self.head = head
        self.kernels = kernels
        self.coder = accepted.coder_of("rpn_head", head.bbox_coder)
        self.strides = [tuple(stride) for stride in generator.strides]
        for level, base in enumerate(generator.base_anchors):
            self.register_buffer(f"anchors{level}", base.detach().float().clone())
        self.count = int(cfg.nms_pre)
        self.max_num = int(cfg.max_per_img)
        self.smallest = float(cfg.get("min_bbox_size", -1))

    def forward(self, features: tuple[Tensor, ...], limits: Tensor) -> Tensor:
        """Proposals (N, 4) of feature maps (1, C, H_l, W_l), clipped to ``limits``."""
        candidates = [
            self._best_of_level(level, feature, limits) for level, feature in enumerate(features)
        ]
        top = torch.cat([boxes for boxes, _ in candidates]).max() + 1
        kept_boxes, kept_ranks = [], []
        for level, (boxes, ranks) in enumerate(candidates):
            # mmcv moves levels apart, which rounds coordinates; so that the same boxes survive,
            # they are moved here too
            kept = self.kernels.nms(
                (boxes + level * top)[None],
                ranks[None],
                self.iou_threshold,
                NOTHING_THRESHOLD,
                self.max_num,
            )[:, 1]
            kept_boxes.append(boxes[kept])
            kept_ranks.append(ranks[kept])
        ranks, index = best(torch.cat(kept_ranks), self.max_num)
        return torch.cat(kept_boxes)[index[something(ranks)]]

    def _best_of_level(self, level: int, feature: Tensor, limits: Tensor) -> tuple[Tensor, Tensor]:
        logits, deltas = self.head.forward_single(feature)
        columns = torch._shape_as_tensor(logits)[3]
        ranks = logits.permute(0, 2, 3, 1).flatten()
        if not self.convention.ranks_logits:
            ranks = ranks.sigmoid()
        last = torch._shape_as_tensor(ranks)[0] - 1
        ranks, index = best(ranks, self.count)
        index = torch.minimum(index, last)
        deltas = deltas.permute(0, 2, 3, 1).reshape(-1, 1, 4)[index]
        anchors = anchors_at(index, getattr(self, f"anchors{level}"), columns, self.strides[level])
        if self.convention.drops_not_finite:
            decoded, finite = self.coder.decode_finite(anchors, deltas, limits)
            ranks = ranks.masked_fill(~(finite[:, 0] & is_finite(ranks)), NOTHING)
        else:
            decoded = self.coder.decode(anchors, deltas, limits)
        boxes = decoded[:, 0]
        if self.smallest >= 0:
            large = ((boxes[:, 2:] - boxes[:, :2]) > self.smallest).all(1)
            ranks = ranks.masked_fill(~large, NOTHING)
        return boxes, ranks


class BoxBranch(nn.Module):
    """The box branch: class scores and refined boxes of proposals, selected as detections."""

    def __init__(self, head: nn.Module, cfg: ConfigDict, kernels: ModuleType) -> None:
        super().__init__()
        self.convention, self.iou_threshold = accepted.test_options(
            "test_cfg.rcnn", cfg, ("max_per_img",)
        )
        self.score_threshold = float(cfg.score_thr)
        self.max_num = int(cfg.max_per_img)
        self.kernels = kernels
        self.pooler = Pooler("roi_head.bbox_roi_extractor", head.bbox_roi_extractor, kernels)
        self.shared_head = shared(head)
        self.head = head.bbox_head
        self.num_classes = head.bbox_head.num_classes
        self.coder = accepted.coder_of("roi_head.bbox_head", head.bbox_head.bbox_coder)

    def forward(
        self, features: tuple[Tensor, ...], proposals: Tensor, limits: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (D, 4), scores (D,) and labels (D,) of proposals (N, 4)."""
        pooled, order = self.pooler(features, proposals)
        if order is not None:
            proposals = proposals[order]
        if self.shared_head is not None:
            pooled = self.shared_head(pooled)
        logits, deltas = self.head(pooled)
        scores = logits.softmax(-1)[:, : self.num_classes].t()  # (K, N)
        deltas = deltas.view(deltas.shape[0], -1, 4)
        if self.convention.drops_not_finite:
            boxes, finite = self.coder.decode_finite(proposals, deltas, limits)
            valid = finite.all(1) & is_finite(scores).all(0)
            scores = scores.masked_fill(~valid, NOTHING)
        else:
            boxes = self.coder.decode(proposals, deltas, limits)
        boxes = boxes.transpose(0, 1)
        if self.head.reg_class_agnostic:
            boxes = boxes.expand(self.num_classes, -1, -1)
        valid = scores > self.score_threshold
        top = (boxes.max(-1).values * valid).max() + 1
        groups = torch.arange(self.num_classes, device=boxes.device)
        moved = boxes + groups.to(boxes)[:, None, None] * top  # as mmcv, which moves classes apart
        kept = self.kernels.nms(
            moved, scores, self.iou_threshold, self.score_threshold, self.max_num
        )
        count = torch._shape_as_tensor(scores)[1]
        flat = kept[:, 0] * count + kept[:, 1]
        found = scores.reshape(-1)[flat]
        ranked, index = best(found, self.max_num)
        index = index[something(ranked)]
        flat_boxes = boxes.reshape(-1, 4)
        if self.convention.drops_empty:  # its postprocessing drops boxes without area
            chosen = flat_boxes[flat[index]]
            index = index[(chosen[:, 2:] > chosen[:, :2]).all(1).nonzero()[:, 0]]
        return flat_boxes[flat[index]], found[index], kept[:, 0][index]

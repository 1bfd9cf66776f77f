"""The steps that codebases compute differently.

Symbols: N boxes, R RoIs, D detections, K classes, A anchors a cell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_maskr.errors import UserError
from mmdet_maskr.ops.boxes import clipped
from mmdet_maskr.ops.mask_paste import Crops, sampled_crops
from mmdet_maskr.ops.nms import grouped_nms, plain_nms


class Convention:
    """What a codebase does in its own way.

    As it stands: proposals are ranked by logits, sides above the smallest one are kept, NMS is
    torchvision's (:func:`.grouped_nms`), and masks are pasted as in mmdet.
    """

    name: ClassVar[str]
    chooses = True  # False: mmdet's heads choose proposals and detections, with any NMS
    ranks_logits = True  # large logits are no ties; their sigmoids are
    drops_not_finite = False  # boxes and scores that are infinite or NaN go before NMS
    drops_empty = False  # detections without area go last: they have had their place till then
    smallest_side: float | None = None  # of detections, in pixels; None for no limit
    exportable = False  # whether graphs of deploy/export can follow it
    crops: Crops = staticmethod(sampled_crops)  # how masks become pixels

    def has(self, step: str) -> bool:
        """Whether a step is the convention's own."""
        return getattr(type(self), step, None) is not getattr(Convention, step, None)

    def check_nms(self, option: str, cfg: Mapping) -> None:
        """Check that the convention's NMS does what ``cfg.nms`` asks for.

        Raises:
            UserError: another type of NMS, or further options.
        """
        if self.chooses and plain_nms(cfg.get("nms")) is None:
            raise UserError(
                f"{option}.nms={dict(cfg.get('nms') or {})} cannot go with {option}.convention="
                f"{self.name!r}, whose NMS has no options but dict(type='nms', iou_threshold=...); "
                "convention='mmdet' takes them all."
            )

    # RoI extractors

    def roi_level(self, scale: Tensor, size: float, level: int, finest: int) -> Tensor:
        """Index of the pyramid level of RoIs, before it is limited to those that there are.

        Args:
            scale: (N,) sqrt(area) in pixels.
            size: sqrt(area) of the RoIs of ``level``.
            level: the canonical level.
            finest: the level that index 0 stands for.
        """
        raise NotImplementedError

    # proposals

    def best(self, ranks: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The ``count`` best (B, count) of a level's (B, n), and their indices."""
        values, index = ranks.topk(count)
        return values, index

    def rank_again(self, ranks: Tensor) -> Tensor:
        """What NMS ranks: that of the levels' best (N,)."""
        return ranks

    def probabilities(self, ranks: Tensor) -> Tensor:
        """Scores of an object (N,) of what NMS ranked."""
        return ranks.sigmoid()

    def are_large(self, sides: Tensor, smallest: float) -> Tensor:
        """Which proposals are kept for their width and height, (N, 2)."""
        return sides > smallest

    def proposals(
        self, boxes: Tensor, ranks: Tensor, levels: Tensor, limits: Sequence[int] | None, cfg: Any
    ) -> InstanceData:
        """Proposals of an image: NMS within levels, the best of all.

        Args:
            boxes: (N, 4) the best of each level, not clipped.
            ranks: (N,) their logits.
            levels: (N,) their level.
            limits: height and width to clip to; None for not at all.
            cfg: ``nms.iou_threshold``, ``max_per_img``, ``min_bbox_size``.

        Returns:
            ``bboxes`` (P, 4), ``scores`` (P,) probabilities, ``labels`` (P,) zeros; best first.
        """
        found = InstanceData(bboxes=boxes, ranks=self.rank_again(ranks), levels=levels)
        if self.drops_not_finite:
            found = found[found.bboxes.isfinite().all(1) & found.ranks.isfinite()]
        if limits is not None:
            found.bboxes = clipped(found.bboxes, limits)
        sides = found.bboxes[:, 2:] - found.bboxes[:, :2]
        found = found[self.are_large(sides, cfg.get("min_bbox_size", -1)).all(1)]
        keep = grouped_nms(found.bboxes, found.ranks, found.levels, cfg.nms.iou_threshold)
        found = found[keep[: cfg.max_per_img]]
        return InstanceData(
            bboxes=found.bboxes,
            scores=self.probabilities(found.ranks),
            labels=found.levels.new_zeros(len(found)),
        )

    # detections

    def detections(
        self, boxes: Tensor, scores: Tensor, cfg: Any, limits: Sequence[int] | None = None
    ) -> InstanceData:
        """Boxes above the score threshold, then NMS within classes, then the best of all.

        Args:
            boxes: (R, 4 K) or class-agnostic (R, 4), xyxy.
            scores: (R, K), without the background.
            cfg: ``score_thr``, ``nms.iou_threshold``, ``max_per_img``, ``min_bbox_size``.
            limits: height and width to clip the boxes to; None where they are clipped.

        Returns:
            ``bboxes`` (D, 4), ``scores`` (D,), ``labels`` (D,) int64; best first.
        """
        if self.drops_not_finite:
            finite = boxes.isfinite().all(1) & scores.isfinite().all(1)
            boxes, scores = boxes[finite], scores[finite]
        boxes = boxes.unflatten(1, (-1, 4))
        if limits is not None:
            boxes = clipped(boxes, limits)
        rows, labels = (scores > cfg.score_thr).nonzero().unbind(1)
        boxes = boxes[rows, labels if boxes.shape[1] > 1 else labels * 0]
        found = InstanceData(bboxes=boxes, scores=scores[rows, labels], labels=labels)
        if self.smallest_side is not None:
            smallest = cfg.get("min_bbox_size", self.smallest_side)
            found = found[(boxes[:, 2:] - boxes[:, :2] >= smallest).all(1)]
        keep = grouped_nms(found.bboxes, found.scores, found.labels, cfg.nms.iou_threshold)
        found = found[keep[: cfg.max_per_img] if cfg.max_per_img >= 0 else keep]
        if self.drops_empty:
            found = found[(found.bboxes[:, 2:] > found.bboxes[:, :2]).all(1)]
        return found

    # anchors

    def anchors(self, sizes: Sequence[float], ratios: Tensor) -> Tensor:
        """A level's anchors (A, 4), xyxy, about the first cell.

        Args:
            sizes: square roots of areas, in pixels.
            ratios: height / width.
        """
        raise NotImplementedError

    def anchor_strides(
        self, strides: Sequence[tuple[int, int]], sizes: Sequence[tuple[int, int]]
    ) -> list[tuple[int, int]]:
        """Pixels (x, y) between the cells of each level.

        Args:
            strides: (x, y) of the levels by their name.
            sizes: (height, width) of the maps.
        """
        return list(strides)

    # images

    def resized_shape(self, height: int, width: int, scale: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of an image resized to fit ``scale`` with its ratio kept.

        Args:
            height: of the image.
            width: of the image.
            scale: longest and shortest side, in any order.
        """
        raise NotImplementedError

    def resize(self, image: np.ndarray, height: int, width: int) -> np.ndarray:
        """An image (h, w, C) of this height and width."""
        raise NotImplementedError

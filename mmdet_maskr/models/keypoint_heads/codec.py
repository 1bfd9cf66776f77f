"""Keypoints to cells of a heatmap over their RoI, and back (He et al. 2017, section 5).

Symbols: N RoIs, K keypoints, S side of the heatmap in cells. Keypoints are continuous coordinates
in the frame of the boxes: the pixel in column 0 covers [0, 1), so a COCO annotation's x, which
counts pixels, is x + 0.5 here.
"""

from __future__ import annotations

from torch import Tensor

from mmdet_maskr.errors import UserError
from mmdet_maskr.ops.keypoint_decode import decode_heatmaps

SCORES = ("probability", "logit")


class HeatmapCodec:
    """One-hot targets for keypoints in RoIs, and keypoints for heatmap logits.

    Both directions are as in Detectron2; decoding is also as in torchvision.

    Args:
        score: score of a keypoint from :meth:`decode`: 'probability' (Detectron2; approximately the
            probability of the best of the S x S cells) or 'logit' (torchvision).

    Raises:
        UserError: ``score`` has another value.
    """

    def __init__(self, score: str = "probability") -> None:
        if score not in SCORES:
            raise UserError(f"keypoint_head.score must be one of {SCORES}, not {score!r}.")
        self.score = score

    @staticmethod
    def valid(keypoints: Tensor, boxes: Tensor) -> Tensor:
        """Whether each keypoint is labeled (visibility > 0) and in its box, including edges.

        Args:
            keypoints: (N, K, 3) x, y, visibility.
            boxes: (N, 4) xyxy.

        Returns:
            (N, K) bool.
        """
        points = keypoints[..., :2]
        inside = (points >= boxes[:, None, :2]) & (points <= boxes[:, None, 2:])
        return inside.all(-1) & (keypoints[..., 2] > 0)

    @staticmethod
    def encode(keypoints: Tensor, boxes: Tensor, size: int) -> Tensor:
        """The cell of each keypoint in the heatmap of its RoI.

        Args:
            keypoints: (N, K, 3) x, y, visibility.
            boxes: (N, 4) xyxy.
            size: S.

        Returns:
            (N, K) int64, row * S + column; only meaningful for :meth:`valid` keypoints.
        """
        corner, sides = boxes[:, None, :2], (boxes[:, 2:] - boxes[:, :2])[:, None]
        # a point on the right or lower edge belongs to the last cell
        cells = ((keypoints[..., :2] - corner) * (size / sides.clamp(min=1e-6))).floor()
        column, row = cells.clamp(0, size - 1).long().unbind(-1)
        return row * size + column

    def decode(self, logits: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """The best point of each heatmap, upsampled to the pixels of its RoI.

        Args:
            logits: (N, K, S, S).
            boxes: (N, 4) xyxy in pixels of the network's input: the RoIs.

        Returns:
            Points (N, K, 2) in the frame of the boxes and scores (N, K).
        """
        points, logit, probability = decode_heatmaps(logits, boxes)
        return points, logit if self.score == "logit" else probability

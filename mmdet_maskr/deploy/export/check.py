"""Compares an exported model's predictions with PyTorch's."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pycocotools.mask

from mmdet_maskr.coco.form import to_sides
from mmdet_maskr.coco.pairing import pair_up


@dataclass(frozen=True)
class Limits:
    """Limits for the differences.

    Args:
        iou: lowest IoU of two boxes with the same label to count as the same detection.
        matched: fraction of detections that must be matched. One may always be missing, because its
            score can be on either side of the threshold.
        score: largest difference of scores.
        box: largest difference of a box coordinate, in pixels.
        mask: fraction of the foreground pixels that may differ.
        keypoint: distance in pixels within which 95 % must be.
    """

    iou: float
    matched: float
    score: float
    box: float
    mask: float
    keypoint: float


FP32 = Limits(iou=0.9, matched=0.99, score=1e-3, box=0.1, mask=1e-3, keypoint=0.5)
# 8 bits change every number: this only tells a quantized model from a broken one
INT8 = Limits(iou=0.5, matched=0.7, score=0.5, box=np.inf, mask=0.5, keypoint=np.inf)


@dataclass
class Differences:
    """Sums over images.

    Attributes:
        expected: number of detections of PyTorch.
        found: number of detections of the exported model.
        matched: number of matched pairs.
        score: largest difference of scores in a pair.
        box: largest difference of box coordinates in a pair, in pixels.
        mask_pixels: pixels in only one mask of a pair.
        foreground: pixels in PyTorch's masks.
        keypoints: distances of keypoints, in pixels.
    """

    expected: int = 0
    found: int = 0
    matched: int = 0
    score: float = 0.0
    box: float = 0.0
    mask_pixels: float = 0.0
    foreground: float = 0.0
    keypoints: list[float] = field(default_factory=list)

    def add(self, expected: dict, found: dict, iou: float) -> None:
        """Compare the predictions of one image, from the inferencer and the runtime."""
        pairs = match(expected, found, iou)
        self.expected += len(expected["scores"])
        self.found += len(found["scores"])
        self.matched += len(pairs)
        for i, j in pairs:
            self.score = max(self.score, abs(expected["scores"][i] - found["scores"][j]))
            apart = np.abs(np.subtract(expected["bboxes"][i], found["bboxes"][j]))
            self.box = max(self.box, float(apart.max()))
            if "masks" in expected:
                ours, theirs = expected["masks"][i], found["masks"][j]
                union = pycocotools.mask.area(pycocotools.mask.merge([ours, theirs]))
                common = pycocotools.mask.area(pycocotools.mask.merge([ours, theirs], True))
                self.mask_pixels += float(union) - float(common)
                self.foreground += float(pycocotools.mask.area(ours))
            if "keypoints" in expected and expected["keypoints"][i]:
                apart = np.subtract(expected["keypoints"][i], found["keypoints"][j])
                self.keypoints += np.hypot(*apart.T).tolist()

    @property
    def missing(self) -> int:
        """Detections without a partner, on the side with more of them."""
        return max(self.expected, self.found) - self.matched

    def rows(self, limits: Limits) -> list[tuple[str, float, float, bool]]:
        """Name, value, limit and result of each measure."""
        most = max(1.0, (1 - limits.matched) * max(self.expected, self.found))
        rows = [
            ("detections without a partner", float(self.missing), most),
            ("score", self.score, limits.score),
            ("box, pixels", self.box, limits.box),
        ]
        if self.foreground:
            rows.append(("mask, share of pixels", self.mask_pixels / self.foreground, limits.mask))
        if self.keypoints:
            distance = float(np.percentile(self.keypoints, 95))
            rows.append(("keypoints, pixels (95 % within)", distance, limits.keypoint))
        return [(*row, row[1] <= row[2]) for row in rows]


def match(expected: dict, found: dict, iou: float) -> list[list[int]]:
    """Match detections with the same label, highest IoU first; each is in at most one pair."""
    if not expected["scores"] or not found["scores"]:
        return []
    overlaps = pycocotools.mask.iou(
        to_sides(expected["bboxes"]), to_sides(found["bboxes"]), [0] * len(found["scores"])
    )
    good = np.equal.outer(expected["labels"], found["labels"]) & (overlaps >= iou)
    return pair_up(np.argwhere(good), overlaps[good]).tolist()


def report(differences: Differences, limits: Limits) -> bool:
    """Print the comparison; True if all values are within their limits."""
    print(f"  {differences.matched} detections matched, of {differences.expected} of PyTorch and "
          f"{differences.found} of the exported model")  # fmt: skip
    rows = differences.rows(limits)
    for name, value, limit, kept in rows:
        print(f"  {name:32s} {value:10.3g}  limit {limit:.3g}{'' if kept else '  TOO FAR'}")
    if differences.expected == 0:
        print("  PyTorch detects nothing on these images: pass others with --images")
    return all(row[3] for row in rows)

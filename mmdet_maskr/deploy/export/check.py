"""Compares an exported model's predictions with PyTorch's."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pycocotools.mask

from mmdet_maskr.coco.form import to_sides
from mmdet_maskr.coco.pairing import pair_up


@dataclass(frozen=True)
class Limits:
    """What is accepted.

    Args:
        iou: that a detection's box must have with one of the same label to be the same.
        matched: share of detections that must be matched; one may always be missing, as one score
            can be on either side of the threshold.
        score: largest difference.
        box: largest distance of a coordinate in pixels.
        mask: share of the foreground that differs.
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
        expected: detections of PyTorch.
        found: detections of the exported model.
        matched: pairs of both.
        score: largest difference of a pair's scores.
        box: largest distance of a pair's coordinates, in pixels.
        mask_pixels: pixels that are in one of a pair's masks only.
        foreground: pixels of PyTorch's masks.
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
        """Compare the predictions of one image, as inferencer and runtime give them."""
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
        """Detections without a partner, of the side that has more of them."""
        return max(self.expected, self.found) - self.matched

    def rows(self, limits: Limits) -> list[tuple[str, float, float, bool]]:
        """For each measure its name, value, limit, and whether it is kept."""
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
    """Pairs of detections of the same label: best overlap first, each in one pair at most."""
    if not expected["scores"] or not found["scores"]:
        return []
    overlaps = pycocotools.mask.iou(
        to_sides(expected["bboxes"]), to_sides(found["bboxes"]), [0] * len(found["scores"])
    )
    good = np.equal.outer(expected["labels"], found["labels"]) & (overlaps >= iou)
    return pair_up(np.argwhere(good), overlaps[good]).tolist()


def report(differences: Differences, limits: Limits) -> bool:
    """Print the comparison; True where all limits are kept."""
    print(f"  {differences.matched} detections matched, of {differences.expected} of PyTorch and "
          f"{differences.found} of the exported model")  # fmt: skip
    rows = differences.rows(limits)
    for name, value, limit, kept in rows:
        print(f"  {name:32s} {value:10.3g}  limit {limit:.3g}{'' if kept else '  TOO FAR'}")
    if differences.expected == 0:
        print("  PyTorch detects nothing on these images: pass others with --images")
    return all(row[3] for row in rows)

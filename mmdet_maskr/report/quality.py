"""Quality of a model: AP, operating points, calibration, kinds of errors; per image and object."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mmdet_maskr.evaluation.backends import EvaluationInput
from mmdet_maskr.evaluation.error_analysis.analysis import analyze
from mmdet_maskr.evaluation.error_analysis.matching import Matching, match
from mmdet_maskr.evaluation.error_analysis.split import BKG, CLS, ErrorSplit, split_errors
from mmdet_maskr.evaluation.operating_points import (
    Calibration,
    OperatingPoint,
    best_point,
    calibration,
    curve,
)

IOU = 0.5
SURE = 0.5  # the least score of a detection that puts a label in doubt
KINDS = ("segm", "bbox", "keypoints")  # the first that is there is looked at in detail


@dataclass(frozen=True)
class Quality:
    """Of one kind: boxes, masks or keypoints.

    Args:
        kind: 'bbox', 'segm' or 'keypoints'.
        analysis: of :func:`.analyze`.
        matching: at IoU or OKS 0.5.
        split: its errors.
        categories: K ids, as the analysis' classes.
        overall: the best operating point with one threshold for all classes.
        points: K, the best of each class.
        calibration: of all detections.
        curve: thresholds, precision and recall of all classes together.
    """

    kind: str
    analysis: dict
    matching: Matching
    split: ErrorSplit
    categories: Sequence[int]
    overall: OperatingPoint
    points: Sequence[OperatingPoint]
    calibration: Calibration
    curve: tuple[np.ndarray, ...]

    def thresholds(self) -> dict[int, float]:
        """By category id the score with the best F1; that of all classes where it has none."""
        common = SURE if math.isnan(self.overall.threshold) else self.overall.threshold
        return {
            category: common if math.isnan(point.threshold) else point.threshold
            for category, point in zip(self.categories, self.points, strict=True)
        }


def quality_of(comparison: EvaluationInput) -> Quality:
    """Measure all that a report says of one kind."""
    categories = list(comparison.category_ids)
    matching = match(comparison, IOU)
    return Quality(
        kind=comparison.kind,
        analysis=analyze(comparison),
        matching=matching,
        split=split_errors(matching, IOU),
        categories=categories,
        overall=best_point(matching, categories),
        points=[best_point(matching, [category]) for category in categories],
        calibration=calibration(matching),
        curve=curve(matching, categories),
    )


@dataclass(frozen=True)
class ImageErrors:
    """Of an image at the best thresholds.

    Args:
        image_id: its id.
        missed: objects that are not found.
        wrong: detections that are on no object.
        right: detections that are on one.
    """

    image_id: int
    missed: int
    wrong: int
    right: int

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 1 where nothing is there and nothing found."""
        total = 2 * self.right + self.missed + self.wrong
        return 2 * self.right / total if total else 1.0


def worst_images(quality: Quality, count: int) -> list[ImageErrors]:
    """The images with most errors, those with a low share of right ones first among them."""
    matching, least = quality.matching, quality.thresholds()
    kept = ~matching.ignored & (
        matching.scores >= np.array([least[c] for c in matching.categories.tolist()])
    )
    found_rows = matching.matched[kept & matching.correct]
    found = np.zeros(len(matching.gt_ids), bool)
    found[found_rows[found_rows >= 0]] = True
    ids = sorted({*matching.image_ids.tolist(), *matching.gt_images.tolist()})
    entries = []
    for image_id in ids:
        own, truth = kept & (matching.image_ids == image_id), matching.gt_images == image_id
        right = int((own & matching.correct).sum())
        missed = int((truth & ~found).sum())
        entries.append(ImageErrors(image_id, missed, int(own.sum()) - right, right))
    entries = [entry for entry in entries if entry.missed + entry.wrong]
    return sorted(entries, key=lambda e: -(e.missed + e.wrong) * (1 - e.f1))[:count]


@dataclass(frozen=True)
class Suspicion:
    """A label that may be wrong.

    Args:
        kind: 'unlabeled': a sure detection where nothing is annotated; 'never found': an
            annotation that no detection comes near; 'class': a sure detection of another class.
        image_id: the image's.
        detection: row of the matching's detections, or -1.
        annotation: id of the annotation, or -1.
        found: class name and score of the detection, '' and NaN without.
        labeled: class name of the annotation, or ''.
        score: of the detection, or NaN.
    """

    kind: str
    image_id: int
    detection: int
    annotation: int
    found: str
    labeled: str
    score: float


def suspicious_labels(
    quality: Quality, annotations: Mapping[int, Mapping], count: int
) -> list[Suspicion]:
    """What to look at again in the annotations: up to ``count`` of each kind, the surest first.

    Args:
        quality: of masks or boxes.
        annotations: by id, with ``area``.
        count: at most, of each kind.
    """
    matching, split = quality.matching, quality.split
    names = dict(zip(quality.categories, quality.analysis["classes"], strict=True))
    least = {c: max(SURE, t) for c, t in quality.thresholds().items()}
    sure = matching.scores >= np.array([least[c] for c in matching.categories.tolist()])
    found = []
    for kind, error in (("unlabeled", BKG), ("class", CLS)):
        rows = np.flatnonzero(sure & (split.kinds == error))
        for row in rows[np.argsort(-matching.scores[rows], kind="stable")][:count].tolist():
            near = int(split.nearest[row])
            found.append(
                Suspicion(
                    kind=kind,
                    image_id=matching.image_ids[row].item(),
                    detection=row,
                    annotation=int(matching.gt_ids[near]) if near >= 0 else -1,
                    found=names[matching.categories[row].item()],
                    labeled=names[matching.gt_categories[near].item()] if near >= 0 else "",
                    score=float(matching.scores[row]),
                )
            )
    missed = np.flatnonzero(split.missed)
    areas = [float(annotations[int(i)].get("area") or 0) for i in matching.gt_ids[missed]]
    for row in missed[np.argsort(areas, kind="stable")[::-1]][:count].tolist():
        found.append(
            Suspicion(
                kind="never found",
                image_id=matching.gt_images[row].item(),
                detection=-1,
                annotation=int(matching.gt_ids[row]),
                found="",
                labeled=names[matching.gt_categories[row].item()],
                score=math.nan,
            )
        )
    return found

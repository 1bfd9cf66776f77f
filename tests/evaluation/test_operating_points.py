"""Thresholds, precision and recall by hand; calibration as hotcoco has it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from mmdet_maskr.evaluation.error_analysis import Matching, match
from mmdet_maskr.evaluation.error_analysis.inputs import comparisons
from mmdet_maskr.evaluation.operating_points import best_point, calibration, curve


def matching(scores: list, correct: list, categories: list, objects: list) -> Matching:
    """Detections in COCO's order, of which none is ignored, and objects by their categories."""
    empty = np.zeros(0, int)
    return Matching(
        image_ids=np.ones(len(scores), int), categories=np.array(categories, int),
        scores=np.array(scores, float), correct=np.array(correct, bool),
        ignored=np.zeros(len(scores), bool), matched=np.full(len(scores), -1),
        gt_ids=np.arange(len(objects)), gt_images=np.ones(len(objects), int),
        gt_categories=np.array(objects, int), gt_found=np.zeros(len(objects), bool),
        pairs=empty.reshape(0, 2), similarities=empty.astype(float),
    )  # fmt: skip


def test_the_best_threshold():
    """Two right ones, one wrong, one right, two wrong; four objects: F1 is best with four."""
    found = matching([0.9, 0.8, 0.7, 0.6, 0.3, 0.2], [1, 1, 0, 1, 0, 0], [1] * 6, [1] * 4)
    thresholds, precision, recall = curve(found, [1])
    assert thresholds.tolist() == [0.9, 0.8, 0.7, 0.6, 0.3, 0.2]
    assert np.allclose(precision, [1, 1, 2 / 3, 3 / 4, 3 / 5, 1 / 2])
    assert np.allclose(recall, [0.25, 0.5, 0.5, 0.75, 0.75, 0.75])
    point = best_point(found, [1])
    assert (point.threshold, point.kept, point.objects) == (0.6, 4, 4)
    assert point.precision == point.recall == 0.75 and math.isclose(point.f1, 0.75)


def test_equal_scores_are_kept_together():
    found = matching([0.5, 0.5, 0.5], [1, 0, 0], [1, 1, 1], [1])
    thresholds, precision, _ = curve(found, [1])
    assert thresholds.tolist() == [0.5] and np.allclose(precision, [1 / 3])


def test_classes_of_their_own_and_together():
    found = matching([0.9, 0.4, 0.8, 0.1], [1, 1, 0, 1], [1, 1, 2, 2], [1, 1, 2])
    assert best_point(found, [1]).threshold == 0.4 and best_point(found, [1]).f1 == 1
    assert best_point(found, [2]).threshold == 0.1
    assert best_point(found, [1, 2]).objects == 3


def test_nothing_to_find_and_nothing_found():
    nothing = matching([0.9], [0], [1], [])
    assert math.isnan(best_point(nothing, [1]).f1)
    wrong = best_point(matching([0.9], [0], [1], [1]), [1])
    assert math.isnan(wrong.threshold) and (wrong.recall, wrong.f1) == (0, 0)
    none = best_point(matching([], [], [], [1]), [1])
    assert math.isnan(none.threshold) and none.f1 == 0
    assert math.isnan(calibration(matching([], [], [], [1])).error)


def test_calibration_is_hotcocos(tmp_path: Path):
    """On random boxes of two classes around the objects."""
    hotcoco = pytest.importorskip("hotcoco")
    rng = np.random.default_rng(0)
    annotations, results = [], []
    for image in range(1, 7):
        for _ in range(8):
            x, y = rng.integers(0, 400, 2).tolist()
            category = int(rng.integers(1, 3))
            annotations.append(dict(
                id=len(annotations) + 1, image_id=image, category_id=category, iscrowd=0,
                bbox=[x, y, 50, 40], area=2000,
                segmentation=[[x, y, x + 50, y, x + 50, y + 40, x, y + 40]],
            ))  # fmt: skip
            for _ in range(3):
                box = [x + float(rng.normal(0, 12)), y + float(rng.normal(0, 12)), 50, 40]
                results.append(dict(image_id=image, category_id=category, bbox=box,
                                    score=float(rng.random())))  # fmt: skip
    truth = dict(
        images=[dict(id=i, file_name=f"{i}.jpg", width=500, height=500) for i in range(1, 7)],
        categories=[dict(id=1, name="a"), dict(id=2, name="b")], annotations=annotations,
    )  # fmt: skip
    for name, content in (("truth", truth), ("found", results)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    compared = comparisons(tmp_path / "truth.json", [tmp_path / "found.json"])["bbox"]
    ours = calibration(match(compared))
    gt = hotcoco.COCO(str(tmp_path / "truth.json"))
    evaluation = hotcoco.COCOeval(gt, gt.load_res(str(tmp_path / "found.json")), "bbox")
    evaluation.evaluate()
    theirs = evaluation.calibration(n_bins=10, iou_threshold=0.5)
    assert ours.error == pytest.approx(theirs["ece"], abs=1e-6) and ours.error > 0.05
    assert ours.counts.tolist() == [b["count"] for b in theirs["bins"]]
    assert np.allclose(ours.shares, [b["avg_accuracy"] for b in theirs["bins"]])

"""Errors are told apart, and cost what they do by hand; base numbers are pycocotools'."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from metric_cases import TINY, Predictions
from mmengine.fileio import dump
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmdet_maskr.datasets import ShapesDataset
from mmdet_maskr.errors import UserError
from mmdet_maskr.evaluation.error_analysis import (
    ERRORS,
    ErrorSplit,
    Matching,
    confusion_matrix,
    match,
    split_errors,
)
from mmdet_maskr.evaluation.error_analysis.analysis import analyze, tables
from mmdet_maskr.evaluation.error_analysis.figure import draw_errors
from mmdet_maskr.evaluation.error_analysis.inputs import comparisons
from mmdet_maskr.evaluation.error_analysis.split import fixed_ap

HALF = 51 / 101  # COCO's AP of a perfect ranking that ends at recall 0.5


def box_file(path: Path, boxes: list[tuple], crowds: list[tuple] = ()) -> Path:
    """An annotation file of one image of 200 pixels with (category, x), boxes of 20 x 20.

    Crowds have ids as COCO's.
    """
    annotations = [
        dict(id=900_000_000_007 + c * 100_000_000 if crowd else i, image_id=7, category_id=c,
             bbox=[x, 0, 20, 20], area=400, iscrowd=int(crowd),
             segmentation=[[x, 0, x + 20, 0, x + 20, 20, x, 20]])
        for i, (c, x, crowd) in enumerate(
            [*((c, x, False) for c, x in boxes), *((c, x, True) for c, x in crowds)], start=1
        )
    ]  # fmt: skip
    content = dict(
        images=[dict(id=7, file_name="7.jpg", width=200, height=200)],
        categories=[dict(id=3, name="fish"), dict(id=5, name="bird")],
        annotations=annotations,
    )
    path.write_text(json.dumps(content))
    return path


def write_config(folder: Path, ann_file: Path, **dataset) -> Path:
    """A config with a dataset and its evaluator, and nothing else."""
    dataset.update(ann_file=str(ann_file), pipeline=[])
    evaluator = dict(type="CocoInstanceMetric", ann_file=str(ann_file))
    config = folder / "config.py"
    config.write_text(f"test_dataloader = dict(dataset={dataset})\ntest_evaluator = {evaluator}\n")
    return config


@pytest.fixture
def compare(tmp_path: Path):
    """Splits the errors of (category, x, score) among (category, x)."""

    def compare(
        truth: list[tuple], found: list[tuple], crowds: list[tuple] = ()
    ) -> tuple[Matching, ErrorSplit]:
        ann_file = box_file(tmp_path / "truth.json", truth, crowds)
        results = tmp_path / "found.json"
        records = [
            dict(image_id=7, category_id=c, bbox=[x, 0, 20, 20], score=s) for c, x, s in found
        ]
        results.write_text(json.dumps(records))
        matching = match(comparisons(ann_file, [results])["bbox"])
        return matching, split_errors(matching)

    return compare


def only(split: ErrorSplit, kind: str, gain: float, count: int) -> None:
    """Assert that this error alone costs, and is counted."""
    for name in ERRORS:
        expected = (gain, count) if name == kind else (0, 0)
        assert (split.gains[name], split.counts[name]) == (pytest.approx(expected[0]), expected[1])


def test_nothing_wrong(compare):
    _, split = compare([(3, 0), (5, 50)], [(3, 0, 0.9), (5, 50, 0.8)])
    assert split.ap == 1 and set(split.gains.values()) == {0} and set(split.counts.values()) == {0}


def test_wrong_labels_alone(compare):
    """Objects under wrong labels are not missed, and AP is 100 when the labels are fixed."""
    _, split = compare([(3, 0), (5, 50), (5, 100)], [(5, 0, 0.9), (3, 50, 0.8), (3, 100, 0.7)])
    assert split.ap == 0
    only(split, "Cls", 1.0, 3)


def test_bad_places_alone(compare):
    """IoU 1/3; of two about the same object one is fixed and one taken away."""
    _, split = compare([(3, 0), (5, 50)], [(3, 10, 0.9), (3, 9, 0.8), (5, 60, 0.7)])
    assert split.ap == 0
    only(split, "Loc", 1.0, 3)


def test_wrong_label_at_a_bad_place(compare):
    """It cannot be fixed into a hit, and its object is missed."""
    _, split = compare([(3, 0), (5, 50)], [(5, 10, 0.9), (5, 50, 0.8)])
    assert split.counts == dict.fromkeys(ERRORS, 0) | {"Both": 1, "Miss": 1}
    assert split.ap == pytest.approx((0 + 0.5) / 2), "fish is missed, bird comes second"
    assert split.gains["Both"] == pytest.approx(0.25)
    assert split.gains["Miss"] == pytest.approx(0.25), "fish does not count any more"


def test_duplicates_alone(compare):
    _, split = compare([(3, 0), (3, 50)], [(3, 0, 0.9), (3, 1, 0.8), (3, 50, 0.7)])
    assert split.ap == pytest.approx((51 + 50 * 2 / 3) / 101)
    only(split, "Dupe", 1 - split.ap, 1)
    assert split.gains["FP"] == pytest.approx(1 - split.ap)
    assert split.nearest[1] == 0 and split.kinds.tolist() == ["", "Dupe", ""]


def test_background_alone(compare):
    _, split = compare([(3, 0), (3, 50)], [(3, 0, 0.9), (3, 150, 0.8), (3, 50, 0.7)])
    assert split.ap == pytest.approx((51 + 50 * 2 / 3) / 101)
    only(split, "Bkg", 1 - split.ap, 1)


def test_misses_alone(compare):
    _, split = compare([(3, 0), (3, 50)], [(3, 0, 0.9)])
    assert split.ap == pytest.approx(HALF)
    only(split, "Miss", 1 - HALF, 1)
    assert split.gains["FN"] == pytest.approx(1 - HALF)


def test_nothing_found_at_all(compare, tmp_path: Path):
    _, split = compare([(3, 0), (3, 50), (5, 100)], [(3, 0, 0.9), (3, 50, 0.8)])
    assert split.ap == 0.5 and split.gains["Miss"] == 0.5, "a class without any does not count"


def test_crowds(compare):
    """Detections of a crowd are neither right nor wrong, and crowds are not missed."""
    matching, split = compare(
        [(3, 0)], [(3, 100, 0.95), (3, 0, 0.9), (5, 100, 0.1)], crowds=[(3, 100), (5, 50)]
    )
    assert matching.ignored.tolist() == [True, False, False] and len(matching.gt_ids) == 1
    assert split.ap == 1, "the bird on the fishes' crowd is of a class that no object has"
    assert split.counts == dict.fromkeys(ERRORS, 0) | {"Bkg": 1}
    assert confusion_matrix(matching, [3, 5], 0.0).tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]


def test_confusions_by_hand(compare):
    truth = [(3, 0), (3, 50), (3, 100), (5, 150)]
    found = [(3, 0, 0.9), (5, 1, 0.8), (5, 50, 0.7), (5, 52, 0.9), (3, 100, 0.2), (3, 180, 0.5)]
    matching, _ = compare(truth, found)
    expected = [  # fish, bird, missed
        [1, 1, 1],  # found; taken for a bird by the nearest of two; below the threshold
        [0, 0, 1],
        [1, 2, 0],  # the second detections of two fish, and one apart from everything
    ]
    assert confusion_matrix(matching, [3, 5], score_thr=0.3).tolist() == expected
    swapped = confusion_matrix(matching, [5, 3], score_thr=0.0)
    assert swapped[1].tolist() == [1, 2, 0], "all three fish, one as a bird"


@pytest.mark.parametrize("kind", ["bbox", "segm", "keypoints"])
def test_base_is_pycocotools_and_all_mended_is_perfect(shapes_root: Path, kind: str, tmp_path):
    """On disturbed ground truth of the shapes, crowds among it."""
    ann_file = shapes_root / "annotations" / "instances_train.json"
    noise = 0.05 if kind == "keypoints" else 0.25
    made = Predictions(ann_file, ann_file, 9, noise=noise, seed=1)
    results = tmp_path / "found.json"
    records = made.by_hand[kind]
    for record in records[::7]:  # other labels
        record["category_id"] = record["category_id"] % 6 + 1
    results.write_text(json.dumps(records, default=bytes.decode))
    config = write_config(tmp_path, ann_file, type="ShapesDataset")
    comparison = comparisons(config, [results])[kind]
    matching = match(comparison)
    split = split_errors(matching)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(ann_file))
        evaluation = COCOeval(truth, truth.loadRes(json.loads(results.read_text())), kind)
        if kind == "keypoints":
            evaluation.params.catIds = [6]
            evaluation.params.kpt_oks_sigmas = np.array(ShapesDataset.METAINFO["keypoint_sigmas"])
            evaluation.params.maxDets = [20]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][0, :, :, 0, -1]
    expected = precision[precision > -1].mean()
    assert 0.1 < expected < 0.9
    assert split.ap == pytest.approx(expected, abs=1e-9)
    fixed = fixed_ap(matching, split.kinds, split.nearest, split.missed, tuple(ERRORS))
    assert fixed == pytest.approx(1.0)
    wrong = ~matching.correct & ~matching.ignored
    assert sum(split.counts[k] for k in ERRORS if k != "Miss") == wrong.sum() > 0


def test_predictions_of_the_test_tool(tiny: Path, tmp_path: Path):
    """A pickle of tools/test.py --out gives what the COCO files give."""
    made = Predictions(tiny, tiny, 5, noise=0.1, seed=3)
    files = []
    for kind, records in made.by_hand.items():
        files.append(tmp_path / f"{kind}.json")
        files[-1].write_text(json.dumps(records, default=bytes.decode))
    for sample in made.samples:
        sample["pred_instances"]["masks"] = sample["pred_instances"]["masks"].rles
    dump(made.samples, str(tmp_path / "predictions.pkl"))
    config = write_config(tmp_path, tiny, type="CocoKeypointDataset", metainfo=TINY)
    one = comparisons(config, [tmp_path / "predictions.pkl"])
    several = comparisons(config, files)
    assert set(one) == set(several) == {"bbox", "segm", "keypoints"}
    for kind in ("bbox", "segm"):
        assert analyze(one[kind]) == analyze(several[kind])
    # the files lack keypoints of a fish that nobody labeled
    assert len(one["keypoints"].found.scores) >= len(several["keypoints"].found.scores) > 0
    with pytest.raises(UserError, match="pass the config"):
        comparisons(tiny, files)


def test_report(compare, tmp_path: Path):
    compare([(3, 0), (5, 50)], [(5, 0, 0.9), (5, 50, 0.8)])
    comparison = comparisons(tmp_path / "truth.json", [tmp_path / "found.json"])["bbox"]
    analysis = analyze(comparison)
    assert json.loads(json.dumps(analysis)) == analysis
    assert analysis["examples"]["Cls"] == [
        dict(image_id=7, category="bird", score=0.9, annotation=1)
    ]
    text = tables("bbox", analysis)
    assert "1 fish taken for bird" in text and "right place, wrong class" in text
    picture = draw_errors({"bbox": analysis}, tmp_path / "out" / "errors.png")
    assert picture.stat().st_size > 10_000


def test_bad_input(compare, tmp_path: Path):
    compare([(3, 0)], [(3, 0, 0.9)])
    truth, results = tmp_path / "truth.json", tmp_path / "found.json"
    with pytest.raises(UserError, match=r"no config or annotation file .*nowhere\.json"):
        comparisons(tmp_path / "nowhere.json", [results])
    with pytest.raises(UserError, match="no results file"):
        comparisons(truth, [tmp_path / "nothing.json"])
    for content, message in (
        ("{", r"found\.json, line 1.*not JSON"),
        ('{"a": 1}', r"file of COCO results .*found\.json"),
        ("[]", "there are no detections"),
        (json.dumps([dict(image_id=8, category_id=3, bbox=[0, 0, 1, 1], score=1)]), "e.g. 8"),
        (json.dumps([dict(image_id=7, category_id=9, bbox=[0, 0, 1, 1], score=1)]), r"ids \[9\]"),
    ):
        results.write_text(content)
        with pytest.raises(UserError, match=message):
            comparisons(truth, [results])
    dump([torch.zeros(1)], str(tmp_path / "other.pkl"))
    with pytest.raises(UserError, match="not a file written by maskr test --out"):
        comparisons(truth, [tmp_path / "other.pkl"])

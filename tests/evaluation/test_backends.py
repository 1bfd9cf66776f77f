"""Faster libraries give pycocotools' numbers; where they do not, they are not taken."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from backend_cases import comparison_of, random_comparison
from forked import finish, fork
from mmdet.datasets.api_wrappers import COCOeval

from mmdet_maskr.errors import UserError
from mmdet_maskr.evaluation import backends
from mmdet_maskr.evaluation.backends import BACKENDS, KINDS, REFERENCE, EvaluationInput
from mmdet_maskr.evaluation.ground_truth import number_annotations

FASTER = [name for name in BACKENDS if name != REFERENCE]
CASES = 40  # of each kind


@pytest.fixture(params=FASTER)
def faster(request: pytest.FixtureRequest) -> str:
    return need(request.param)


def need(name: str) -> str:
    if name not in backends.installed():
        pytest.skip(f"needs '{BACKENDS[name].package}>={BACKENDS[name].since}'")
    return name


def assert_same(comparison: EvaluationInput, backend: str) -> COCOeval:
    """All of precision, recall and the statistics; returns the reference's evaluation."""
    theirs = backends.evaluate(copy.deepcopy(comparison), backend)
    reference = backends.evaluate(comparison, REFERENCE)
    # hotcoco leaves no difference; faster_coco_eval adds no epsilon to the divisor of precision
    tolerance = 0 if backend == "hotcoco" else 1e-12
    for name in ("precision", "recall"):
        np.testing.assert_allclose(
            theirs.eval[name], reference.eval[name], rtol=0, atol=tolerance, err_msg=name
        )
    np.testing.assert_allclose(theirs.stats, reference.stats, rtol=0, atol=tolerance)
    assert theirs.params.catIds == reference.params.catIds
    return reference


@pytest.mark.parametrize("kind", KINDS)
def test_random_detections(faster: str, kind: str):
    """Ties, crowds, empty places, doubled boxes, more detections than count, borders of sizes."""
    found = []
    for seed in range(CASES):
        comparison = random_comparison(kind, seed)
        found.append(assert_same(comparison, faster).stats[0])
    assert len({round(ap, 6) for ap in found if 0 < ap < 1}) > CASES / 3  # there is much to compare


def test_statistics_are_those_of_pycocotools_itself():
    """Precision and recall pass through; the statistics are what COCOeval gives by hand."""
    for seed in range(5):
        comparison = random_comparison("bbox", seed)
        found = comparison.truth.loadRes(comparison.found.to_coco())
        by_hand = COCOeval(comparison.truth, found, "bbox")
        comparison.set_params(by_hand.params)
        by_hand.evaluate()
        by_hand.accumulate()
        by_hand.summarize()
        np.testing.assert_array_equal(backends.evaluate(comparison, REFERENCE).stats, by_hand.stats)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_found_and_nothing_to_find(faster: str, kind: str):
    """No detection at all; no annotation at all; neither."""
    full = random_comparison(kind, 2)
    truth = full.truth.dataset
    assert truth["annotations"] and full.found.scores.size
    options = dict(
        category_ids=full.category_ids,
        image_ids=full.image_ids,
        thresholds=full.thresholds,
        max_dets=full.max_dets,
        sigmas=full.sigmas,
    )
    lost = assert_same(comparison_of(kind, truth, [], **options), faster)
    assert lost.stats[0] == 0
    empty = dict(truth, annotations=[])
    nothing = assert_same(comparison_of(kind, empty, full.found.to_coco(), **options), faster)
    assert (nothing.stats == -1).all()
    assert_same(comparison_of(kind, empty, [], **options), faster)


def test_more_detections_than_count(faster: str):
    """Of 130 boxes in an image 100 count; the only right one is the 101st by score."""
    truth = dict(
        images=[dict(id=1)],
        categories=[dict(id=1, name="a")],
        annotations=[dict(id=1, image_id=1, category_id=1, bbox=[5, 5, 9, 9], area=81, iscrowd=0)],
    )
    found = [
        dict(image_id=1, category_id=1, score=1 - i / 200, bbox=[5 if i == 100 else 50, 5, 9, 9])
        for i in range(130)
    ]
    options = dict(category_ids=[1], image_ids=[1], thresholds=np.linspace(0.5, 0.95, 10))
    comparison = comparison_of("bbox", truth, found, max_dets=(100, 300, 1000), **options)
    stats = assert_same(comparison, faster).stats
    assert stats[0] == 0 and stats[1] == pytest.approx(1 / 101)  # mAP of 100, mAP_50 of 1000


def test_annotation_0_and_ids_that_occur_twice(faster: str):
    """pycocotools takes a match with annotation 0 for none; numbered anew all count."""
    comparison = random_comparison("bbox", 1)
    reference = backends.evaluate(comparison, REFERENCE)
    annotations = comparison.truth.dataset["annotations"]
    for first, step in ((0, 1), (1, 2)):
        for index, annotation in enumerate(annotations):
            annotation["id"] = first + index // step
        comparison.truth.createIndex()
        assert not np.array_equal(backends.evaluate(comparison, REFERENCE).stats, reference.stats)
        number_annotations(comparison.truth)
        np.testing.assert_array_equal(assert_same(comparison, faster).stats, reference.stats)


def test_the_best_of_each_image_and_category():
    """What evaluation drops can be dropped before: as a loop does it, ties included."""
    for seed in range(20):
        found = random_comparison("keypoints", seed).found
        places: dict[tuple, list[int]] = {}
        for i, key in enumerate(zip(found.image_ids, found.category_ids, strict=True)):
            places.setdefault(key, []).append(i)
        for count in (1, 3, 20):
            kept = [sorted(own, key=lambda i: -found.scores[i])[:count] for own in places.values()]
            kept = sorted(i for own in kept for i in own)
            best = found.best(count)
            assert best.to_coco() == [found.to_coco()[i] for i in kept]
    for key in ("image_ids", "category_ids"):
        names = replace(found, **{key: [f"id {i}" for i in getattr(found, key)]})
        assert np.array_equal(names.best(1).scores, found.best(1).scores)


# ------------------------------------------------------------------------------------------ choice
def test_auto_takes_the_fastest_that_is_installed(monkeypatch: pytest.MonkeyPatch):
    versions = dict(hotcoco="1.3.0", faster_coco_eval="1.10.0", pycocotools=None)
    monkeypatch.setattr(backends, "_version", versions.get)
    comparison = random_comparison("segm", 0)
    assert backends.choose(comparison, "auto") == ("hotcoco", "hotcoco 1.3.0")
    versions["hotcoco"] = "1.2.9"
    assert backends.choose(comparison, "auto") == ("faster_coco_eval", "faster_coco_eval 1.10.0")
    versions["faster_coco_eval"] = None
    assert backends.choose(comparison, "auto") == (REFERENCE, REFERENCE)
    for name, message in (
        ("hotcoco", r"hotcoco 1.2.9 is older than 1.3.0. .*\"pip install 'hotcoco>=1.3.0'\""),
        ("faster_coco_eval", "faster-coco-eval is not installed. .*pip install 'faster-coco-eval>"),
        ("coco", r"backend='coco': it must be one of \('auto', 'hotcoco', "),
    ):
        with pytest.raises(UserError, match=message):
            backends.check_backend(name)
    backends.check_backend("auto")
    backends.check_backend(REFERENCE)


def test_hotcoco_is_not_taken_in_a_fork_without_its_threads(tmp_path: Path):
    """A child of a process that has evaluated by hotcoco would wait for threads that it lacks."""
    need("hotcoco")
    comparison = random_comparison("bbox", 0)
    backends.evaluate(comparison, "hotcoco")

    def choose_in_child() -> None:
        assert backends.choose(comparison, "auto")[0] != "hotcoco"
        with pytest.raises(UserError, match=r"'hotcoco' cannot.*forked"):
            backends.choose(comparison, "hotcoco")

    log = tmp_path / "log"
    assert finish(fork(choose_in_child, log)) == 0, log.read_text()
    assert backends.choose(comparison, "auto")[0] == "hotcoco"


def test_a_library_known_to_differ_on_a_kind_is_passed_over(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(backends, "_version", lambda name: "9.0")
    differing = replace(BACKENDS["hotcoco"], equal_on=("bbox",))
    monkeypatch.setitem(BACKENDS, "hotcoco", differing)
    assert backends.choose(random_comparison("bbox", 0), "auto")[0] == "hotcoco"
    assert backends.choose(random_comparison("segm", 0), "auto")[0] == "faster_coco_eval"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: c.truth.dataset["images"][0].update(id="x1"), "ids of images are no integers"),
        (lambda c: c.truth.dataset["categories"][0].update(id=-1), "ids of categories are no"),
        (lambda c: c.found.scores.__setitem__(0, np.nan), "some scores are NaN"),
        (lambda c: c.found.keypoints.__setitem__((0, 0, 1), np.nan), "some keypoints are NaN"),
    ],
)
def test_what_only_pycocotools_takes(monkeypatch: pytest.MonkeyPatch, change, reason: str):
    """Ids that are texts or negative, NaN scores or keypoints: the others stop, or differ."""
    monkeypatch.setattr(backends, "_version", lambda name: "9.0")
    comparison = random_comparison("keypoints", 2)
    change(comparison)
    name, description = backends.choose(comparison, "auto")
    assert name == REFERENCE and reason in description
    assert backends.choose(comparison, REFERENCE)[0] == REFERENCE
    with pytest.raises(UserError, match=f"'hotcoco' cannot evaluate keypoints here: .*{reason}"):
        backends.choose(comparison, "hotcoco")

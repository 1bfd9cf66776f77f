"""More than 100 objects an image: one maximum for all numbers, a warning where it is too low."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from mmdet.datasets.api_wrappers import COCOeval
from mmengine.logging import MMLogger

from mmdet_maskr.errors import UserError
from mmdet_maskr.evaluation import CocoInstanceMetric

COUNT = 300
META = dict(classes=("dot",))


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One image of 300 objects in a grid."""
    boxes = [[10 * (i % 20), 10 * (i // 20), 8, 8] for i in range(COUNT)]
    polygons = [[x, y, x + 8, y, x + 8, y + 8, x, y + 8] for x, y, *_ in boxes]
    content = dict(
        images=[dict(id=1, file_name="a.png", width=200, height=160)],
        categories=[dict(id=1, name="dot")],
        annotations=[
            dict(id=i + 1, image_id=1, category_id=1, bbox=box, area=64, iscrowd=0,
                 segmentation=[polygon])
            for i, (box, polygon) in enumerate(zip(boxes, polygons, strict=True))
        ],
    )  # fmt: skip
    path = tmp_path_factory.mktemp("crowded") / "crowded.json"
    path.write_text(json.dumps(content))
    return path


def found(path: Path, count: int = COUNT) -> dict:
    """The first ``count`` objects, found exactly."""
    boxes = torch.tensor([a["bbox"] for a in json.loads(path.read_text())["annotations"]]).float()
    boxes[:, 2:] += boxes[:, :2]
    scores = torch.linspace(1, 0.1, COUNT)
    pred = dict(bboxes=boxes, scores=scores, labels=torch.zeros(COUNT, dtype=torch.int64))
    pred = {key: value[:count] for key, value in pred.items()}
    return dict(img_id=1, ori_shape=(160, 200), pred_instances=pred)


def score(path: Path, *samples: dict, metric: str = "bbox", **options) -> dict:
    evaluator = CocoInstanceMetric(ann_file=str(path), metric=metric, **options)
    evaluator.dataset_meta = META
    for sample in samples or (found(path),):
        evaluator.process({}, [sample])
    return evaluator.evaluate(len(samples) or 1)


@pytest.mark.parametrize("backend", ["pycocotools", "auto"])
def test_one_maximum_for_all_numbers(crowded: Path, backend: str):
    """All 300 are found: 1 each where they count, and the same third each where 100 do."""
    for limit, expected in ((None, 34 / 101), (100, 34 / 101), (300, 1.0), (1000, 1.0)):
        scores = score(crowded, max_dets=limit, backend=backend, classwise=True)
        values = [scores[f"coco/bbox_{item}"] for item in ("mAP", "mAP_50", "mAP_75", "mAP_s")]
        assert values == [round(expected, 3)] * 4
        assert scores["coco/dot_precision"] == round(expected, 3)


@pytest.mark.parametrize("numbers", [(300, 500, 1000), (1, 10, 100), (1000, 100, 300)])
def test_any_numbers_of_proposals(crowded: Path, numbers: tuple[int, ...]):
    scores = score(crowded, metric="proposal", proposal_nums=numbers)
    assert {f"coco/AR@{number}" for number in numbers} <= scores.keys()
    for number in numbers:
        assert scores[f"coco/AR@{number}"] == round(min(number, COUNT) / COUNT, 3)
    assert f"coco/AR_s@{max(numbers)}" in scores
    assert score(crowded, proposal_nums=numbers)["coco/bbox_mAP"] == 0.337


def test_as_pycocotools_by_hand(crowded: Path):
    """With COCO's own numbers, where no more than 100 are found."""
    evaluator = CocoInstanceMetric(ann_file=str(crowded), metric="bbox")
    evaluator.dataset_meta = META
    evaluator.process({}, [found(crowded, 70)])
    evaluation, _ = evaluator.evaluation("bbox", [evaluator.results[0][1]])
    truth = evaluator._coco_api
    records = evaluator._detections("bbox", [evaluator.results[0][1]]).to_coco()
    by_hand = COCOeval(truth, truth.loadRes(records), "bbox")
    by_hand.params.maxDets = [100, 300, 1000]
    by_hand.evaluate()
    by_hand.accumulate()
    by_hand.summarize()
    assert evaluation.stats == pytest.approx(by_hand.stats, abs=0)


def test_crowded_images_are_warned_of(crowded: Path):
    said: list[str] = []
    logger = MMLogger.get_current_instance()
    note = lambda record: said.append(record.getMessage()) or True  # noqa: E731
    logger.addFilter(note)
    try:
        for limit, warned in ((None, True), (200, True), (300, False)):
            said.clear()
            evaluator = CocoInstanceMetric(ann_file=str(crowded), metric="bbox", max_dets=limit)
            evaluator.dataset_meta = META
            assert any("max_dets=300" in line for line in said) == warned
    finally:
        logger.removeFilter(note)


def test_an_image_that_comes_twice_is_counted_once(crowded: Path):
    """As RepeatDataset gives it; another image of the same id is an error."""
    one = dict(found(crowded), img_path="a.png")
    assert score(crowded, one, one, max_dets=300)["coco/bbox_mAP"] == 1.0
    with pytest.raises(UserError, match="have the same id 1"):
        score(crowded, one, dict(one, img_path="b.png"))

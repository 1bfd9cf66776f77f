"""Pictures of ground truth next to predictions show what is in the files."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from mmdet_maskr.datasets import ShapesDataset, shapes
from mmdet_maskr.errors import UserError
from mmdet_maskr.visualization.draw import enlarge
from mmdet_maskr.visualization.pictures import draw_predictions

PALETTE = dict(enumerate(shapes.PALETTE, start=1))


@pytest.fixture
def results(shapes_root: Path, tmp_path: Path) -> Path:
    """Ground truth as results, with a score."""
    truth = COCO(shapes_root / "annotations" / "instances_val.json")
    entries = []
    for ann in truth.dataset["annotations"]:
        rle = truth.annToRLE(ann)
        rle["counts"] = rle["counts"].decode()
        entries.append(
            dict(image_id=ann["image_id"], category_id=ann["category_id"], bbox=ann["bbox"],
                 segmentation=rle, score=0.9)
        )  # fmt: skip
    (tmp_path / "results.segm.json").write_text(json.dumps(entries))
    return tmp_path / "results.segm.json"


def test_pictures_of_ground_truth_beside_predictions(
    shapes_root: Path, results: Path, tmp_path: Path
):
    ann_file = shapes_root / "annotations" / "instances_val.json"
    paths = draw_predictions(
        ann_file, shapes_root / "val", results, tmp_path / "out", PALETTE, count=3
    )
    assert [p.name for p in paths][-1] == "sheet.png" and len(paths) == 4
    left, right = sides(paths[0])
    different = (left != right).any(-1).mean()
    assert 0 < different < 0.1, "the same instances; only the labels have scores on the right"
    nothing = draw_predictions(
        ann_file, shapes_root / "val", results, tmp_path / "none", PALETTE, count=3, score_thr=0.95
    )
    original = cv2.imread(str(shapes_root / "val" / nothing[0].name))[..., ::-1]
    enlarged, _, _, _ = enlarge(original, np.zeros((0, 4)), [], None, 384)
    assert np.abs(sides(nothing[0])[1].astype(int) - enlarged).max() <= 1


def test_no_predictions_at_all(shapes_root: Path, tmp_path: Path):
    (tmp_path / "r.json").write_text("[]")
    ann_file = shapes_root / "annotations" / "instances_val.json"
    paths = draw_predictions(
        ann_file, shapes_root / "val", tmp_path / "r.json", tmp_path / "out", PALETTE
    )
    assert len(paths) == 5  # four images, and the sheet


@pytest.fixture
def one_person(tmp_path: Path) -> Path:
    """A folder with a gray image of 200 pixels, one annotation with keypoints, and results."""
    cv2.imwrite(str(tmp_path / "gray.png"), np.full((200, 200, 3), 128, np.uint8))
    category = dict(id=7, name="figure")
    points = np.zeros((9, 3), int)
    points[:4] = [[99, 39, 2], [139, 99, 1], [49, 99, 2], [149, 149, 2]]
    box, square = [20, 20, 160, 160], [[20, 20, 180, 20, 180, 180, 20, 180]]
    annotation = dict(
        id=1, image_id=1, category_id=7, bbox=box, area=25600, iscrowd=0, segmentation=square,
        keypoints=points.ravel().tolist(), num_keypoints=4,
    )  # fmt: skip
    truth = dict(
        images=[dict(id=1, file_name="gray.png", width=200, height=200)],
        annotations=[annotation], categories=[category],
    )  # fmt: skip
    scored = np.concatenate([points[:, :2], np.where(points[:, 2:] == 2, 0.9, 0.01)], axis=1)
    found = scored.ravel().tolist()
    result = dict(image_id=1, category_id=7, score=0.75)
    other = dict(result, score=0.6, bbox=[0, 0, 30, 30])
    files = {
        "truth": truth,
        "bbox": [other, dict(result, bbox=box)],
        "keypoints": [dict(result, keypoints=found)],
        "foreign": [dict(result, keypoints=found, score=0.7)],
    }
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return tmp_path


def sides(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Ground truth and prediction of a pair of square images, RGB; without their legends."""
    pair = cv2.imread(str(path))[..., ::-1]
    half = (pair.shape[1] - 8) // 2
    assert (pair[half:] == 255).all(-1).mean() > 0.5, "a legend"
    return pair[:half, :half], pair[:half, half + 8 :]


@pytest.mark.parametrize("results", ["bbox", "keypoints"])
def test_keypoints_of_files(one_person: Path, results: str):
    """Ground truth: visible filled, occluded hollow. Results: by their score; other file or own."""
    paths = draw_predictions(
        one_person / "truth.json", one_person, one_person / f"{results}.json", one_person / "out",
        {7: (200, 60, 200)}, count=1, metainfo=ShapesDataset.METAINFO,
        keypoint_file=one_person / "keypoints.json" if results == "bbox" else None,
    )  # fmt: skip
    truth, found = sides(paths[0])
    assert truth.shape == (400, 400, 3)  # twice as large
    row, left, right = (int(2 * (index + 0.5)) for index in (99, 139, 49))
    left_elbow, right_elbow = (row, left), (row, right)
    assert tuple(truth[left_elbow]) == (255, 255, 255), "occluded"
    color = tuple(truth[right_elbow])
    assert color not in ((255, 255, 255), (128, 128, 128)), "visible"
    assert tuple(found[right_elbow]) == color, "the same joint"
    assert tuple(found[left_elbow]) == (128, 128, 128), "score 0.01, and no mask"


def test_keypoints_of_other_detections(one_person: Path):
    with pytest.raises(UserError, match=r"foreign.json has keypoints of a detection .*score 0.7"):
        draw_predictions(
            one_person / "truth.json", one_person, one_person / "bbox.json", one_person / "out",
            {7: (200, 60, 200)}, keypoint_file=one_person / "foreign.json",
        )  # fmt: skip


def test_image_that_is_not_there(one_person: Path):
    (one_person / "gray.png").unlink()
    with pytest.raises(UserError, match=r"gray.png cannot be read"):
        draw_predictions(
            one_person / "truth.json", one_person, one_person / "bbox.json", one_person / "out", {}
        )

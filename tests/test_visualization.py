"""Pictures and curves show what is in the data."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from mmdet_maskr.datasets import shapes
from mmdet_maskr.errors import UserError
from mmdet_maskr.visualization.curves import plot_curves, read_scalars
from mmdet_maskr.visualization.draw import draw_instances, enlarge
from mmdet_maskr.visualization.pictures import draw_predictions

PALETTE = dict(enumerate(shapes.PALETTE, start=1))


def test_draws_masks_boxes_and_labels_where_they_are():
    image = np.full((120, 160, 3), 100, np.uint8)
    mask = np.zeros((120, 160), np.uint8)
    mask[50:90, 40:100] = 1
    drawn = draw_instances(image, np.array([[40, 50, 100, 90]]), [mask], ["disc"], [(255, 0, 0)])
    assert (image == 100).all(), "the image itself is not drawn on"
    inside = drawn[60:80, 60:80].astype(int)  # 55 % grey, 45 % red
    assert (abs(inside - [170, 55, 55]) <= 1).all()
    changed = (drawn != image).any(-1)
    assert changed[30:50, 40:70].any(), "the label stands above the box"
    assert not changed[95:].any() and not changed[:, 105:].any()


def test_labels_of_the_same_box_do_not_cover_each_other():
    image = np.zeros((200, 200, 3), np.uint8)
    boxes = np.array([[60, 80, 140, 120], [60, 80, 140, 120]], float)
    colours = [(255, 0, 0), (0, 255, 0)]
    drawn = draw_instances(image, boxes, None, ["one", "two"], colours)
    areas = [int((drawn == colour).all(-1).sum()) for colour in colours]
    assert min(areas) > 0.5 * max(areas) > 0


def test_no_instances():
    image = np.zeros((40, 40, 3), np.uint8)
    assert (draw_instances(image, np.zeros((0, 4)), [], [], []) == 0).all()


def test_enlarge_moves_boxes_and_masks_together():
    image = np.zeros((40, 50, 3), np.uint8)
    mask = np.zeros((40, 50), np.uint8)
    mask[10:20, 5:25] = 1
    image, boxes, (mask,) = enlarge(image, np.array([[5.0, 10, 25, 20]]), [mask], 120)
    assert image.shape == (120, 150, 3)
    assert boxes.tolist() == [[15, 30, 75, 60]]
    ys, xs = np.nonzero(mask)
    assert np.allclose([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], boxes[0], atol=1)


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
    pair = cv2.imread(str(paths[0]))
    half = (pair.shape[1] - 8) // 2
    left, right = pair[:, :half], pair[:, half + 8 :]
    different = (left != right).any(-1).mean()
    assert 0 < different < 0.1, "the same instances; only the labels have scores on the right"
    nothing = draw_predictions(
        ann_file, shapes_root / "val", results, tmp_path / "none", PALETTE, count=3, score_thr=0.95
    )
    bare = cv2.imread(str(nothing[0]))
    original = cv2.imread(str(shapes_root / "val" / nothing[0].name))
    enlarged, _, _ = enlarge(original, np.zeros((0, 4)), [], 480)
    assert np.abs(bare[:, half + 8 :].astype(int) - enlarged).max() <= 1


def test_no_predictions_at_all(shapes_root: Path, tmp_path: Path):
    (tmp_path / "r.json").write_text("[]")
    ann_file = shapes_root / "annotations" / "instances_val.json"
    paths = draw_predictions(
        ann_file, shapes_root / "val", tmp_path / "r.json", tmp_path / "out", PALETTE
    )
    assert len(paths) == 5  # four images, and the sheet


def log(work_dir: Path, session: str, lines: list[dict], tail: str = "") -> None:
    file = work_dir / session / "vis_data" / "scalars.json"
    file.parent.mkdir(parents=True)
    file.write_text("\n".join(json.dumps(line) for line in lines) + tail)


def test_curves_of_a_resumed_run(tmp_path: Path):
    first = [dict(loss=3.0, loss_cls=1.0, step=10), dict(loss=2.0, loss_cls=0.5, step=20)]
    log(tmp_path, "20260101_000000", first, tail='\n{"loss": 1.9, "st')  # killed while it wrote
    second = [dict(loss=1.8, loss_cls=0.4, step=20), {"coco/segm_mAP": 0.4, "step": 2}]
    log(tmp_path, "20260101_000100", second)
    losses, aps = read_scalars(tmp_path)
    assert losses == dict(loss=[(10, 3.0), (20, 1.8)], loss_cls=[(10, 1.0), (20, 0.4)])
    assert aps == {"coco/segm_mAP": [(2, 0.4)]}
    picture = cv2.imread(str(plot_curves(tmp_path, tmp_path / "curves.png")))
    assert picture.shape[1] > 2 * picture.shape[0]


def test_curves_of_nothing(tmp_path: Path):
    with pytest.raises(UserError, match="no losses were logged"):
        read_scalars(tmp_path)

"""InstanceVisualizer draws what data samples hold, from mmdet's hook too."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmdet.visualization import DetLocalVisualizer
from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.structures import InstanceData, PixelData
from pycocotools import mask as mask_api

from mmdet_maskr.errors import UserError
from mmdet_maskr.ops.mask_rle import RLEMasks
from mmdet_maskr.visualization import InstanceVisualizer, drawable

SIZE = 240
META = dict(
    classes=("stone", "person"),
    palette=[(200, 60, 60), (40, 80, 160)],
    keypoints=("head", "left_hand", "right_hand"),
    keypoint_swaps=(("left_hand", "right_hand"),),
    skeleton=(("head", "left_hand"), ("head", "right_hand")),
    keypoint_classes=("person",),
)
POINTS = [[150.5, 60.5], [190.5, 150.5], [110.5, 150.5]]


@pytest.fixture
def visualizer() -> InstanceVisualizer:
    built = InstanceVisualizer(least_side=0, legend=False)
    built.dataset_meta = META
    return built


def dense_masks() -> torch.Tensor:
    masks = torch.zeros(2, SIZE, SIZE, dtype=torch.bool)
    masks[0, 160:220, 20:80] = True
    masks[1, 40:170, 100:200] = True
    return masks


def predictions(masks: object | None = None, scores: tuple = (0.9, 0.8)) -> InstanceData:
    """A stone without keypoints, and a person."""
    points = torch.zeros(2, 3, 2)
    points[1] = torch.tensor(POINTS)
    return InstanceData(
        bboxes=torch.tensor([[20.0, 160, 80, 220], [100, 40, 200, 170]]),
        labels=torch.tensor([0, 1]),
        scores=torch.tensor(scores),
        masks=dense_masks() if masks is None else masks,
        keypoints=points,
        keypoint_scores=torch.tensor([[0.0, 0, 0], [0.7, 0.7, 0.7]]),
    )


def truth() -> InstanceData:
    points = torch.zeros(2, 3, 3)
    points[1] = torch.tensor([[*point, 2] for point in POINTS])
    return InstanceData(
        bboxes=HorizontalBoxes(predictions().bboxes),
        labels=torch.tensor([0, 1]),
        masks=BitmapMasks(dense_masks().numpy().astype(np.uint8), SIZE, SIZE),
        keypoints=points,
    )


def draw(visualizer: InstanceVisualizer, tmp_path: Path, **parts) -> np.ndarray:
    """RGB of what add_datasample writes."""
    options = {k: parts.pop(k) for k in ("draw_gt", "draw_pred", "pred_score_thr") if k in parts}
    image = np.full((SIZE, SIZE, 3), 100, np.uint8)
    file = tmp_path / "drawn.png"
    visualizer.add_datasample("x", image, DetDataSample(**parts), out_file=str(file), **options)
    return cv2.imread(str(file))[..., ::-1]


def at(drawn: np.ndarray, point: list[float]) -> tuple[int, ...]:
    return tuple(drawn[int(point[1]), int(point[0])].tolist())


def test_ground_truth_beside_predictions(visualizer: InstanceVisualizer, tmp_path: Path):
    """Same masks, boxes and skeletons on both sides; scores in the predictions' labels only."""
    drawn = draw(visualizer, tmp_path, gt_instances=truth(), pred_instances=predictions())
    assert drawn.shape == (SIZE, 2 * SIZE, 3)
    left, right = drawn[:, :SIZE], drawn[:, SIZE:]
    different = np.argwhere((left != right).any(axis=2))
    assert 0 < len(different) < 0.06 * SIZE * SIZE
    assert np.array_equal(left[60:150, 105:195], right[60:150, 105:195]), "the person's inside"
    colors = [at(left, point) for point in POINTS]
    assert len(set(colors)) == 3, "left, right and middle"
    blended = 0.55 * 100 + 0.45 * np.array(META["palette"][0])
    assert np.abs(left[190, 50] - blended).max() <= 1


def test_masks_of_every_kind(visualizer: InstanceVisualizer, tmp_path: Path):
    dense = dense_masks().numpy().astype(np.uint8)
    rles = [mask_api.encode(np.asfortranarray(mask)) for mask in dense]
    corners = [[20, 160, 80, 160, 80, 220, 20, 220], [100, 40, 200, 40, 200, 170, 100, 170]]
    polygons = [[np.array(c, np.float32)] for c in corners]
    expected = draw(visualizer, tmp_path, draw_gt=False, pred_instances=predictions())
    for masks in (
        RLEMasks(rles, (SIZE, SIZE)),
        BitmapMasks(dense, SIZE, SIZE),
        PolygonMasks(polygons, SIZE, SIZE),
        dense,
    ):
        instances = predictions(masks)
        drawn = draw(visualizer, tmp_path, draw_gt=False, pred_instances=instances)
        assert np.array_equal(drawn, expected), type(masks)


def test_boxes_alone(visualizer: InstanceVisualizer, tmp_path: Path):
    instances = predictions()
    for name in ("masks", "keypoints", "keypoint_scores"):
        instances.pop(name)
    drawn = draw(visualizer, tmp_path, draw_gt=False, pred_instances=instances)
    assert (drawn[50:160, 110:190] == 100).all()
    assert (drawn != 100).any()


def test_thresholds(visualizer: InstanceVisualizer, tmp_path: Path):
    """Instances below pred_score_thr, and joints below keypoint_thr, are left out."""
    instances = predictions(scores=(0.9, 0.25))
    drawn = draw(visualizer, tmp_path, draw_gt=False, pred_instances=instances)
    assert (drawn[:140] == 100).all(), "the stone's label begins below"
    drawn = draw(visualizer, tmp_path, draw_gt=False, pred_instances=instances, pred_score_thr=0.2)
    without = predictions()
    without.keypoint_scores[1, 1] = 0.04
    fewer = draw(visualizer, tmp_path, draw_gt=False, pred_instances=without)
    mask_only = 0.55 * 100 + 0.45 * np.array(META["palette"][1])
    assert np.abs(np.array(at(drawn, POINTS[1])) - mask_only).max() > 50
    assert np.abs(np.array(at(fewer, POINTS[1])) - mask_only).max() <= 1
    assert at(fewer, POINTS[2]) == at(drawn, POINTS[2])


def test_nothing_to_draw(visualizer: InstanceVisualizer, tmp_path: Path):
    """No detections; a test pipeline without annotations packs instances without any field."""
    empty = predictions()[torch.zeros(2, dtype=torch.bool)]
    drawn = draw(visualizer, tmp_path, gt_instances=InstanceData(), pred_instances=empty)
    assert drawn.shape == (SIZE, 2 * SIZE, 3) and (drawn == 100).all()


@pytest.mark.parametrize("palette", [None, "random", "coco", ((200, 60, 60), (40, 80, 160))])
def test_colors_do_not_depend_on_the_image(
    visualizer: InstanceVisualizer, tmp_path: Path, palette: object
):
    """A class has one color in every image."""
    visualizer.dataset_meta = {**META, "palette": palette}
    both = predictions()
    stone = draw(visualizer, tmp_path, draw_gt=False, pred_instances=both[:1])[190, 50]
    together = draw(visualizer, tmp_path, draw_gt=False, pred_instances=both)[190, 50]
    assert stone.tolist() == together.tolist()


def test_another_number_of_keypoints(visualizer: InstanceVisualizer, tmp_path: Path):
    instances = predictions()
    instances.keypoints = torch.ones(2, 4, 2)
    instances.keypoint_scores = torch.ones(2, 4)
    with pytest.raises(UserError, match="4 keypoints"):
        draw(visualizer, tmp_path, draw_gt=False, pred_instances=instances)


def test_from_a_test_run(repo: Path, shapes_root: Path, tmp_path: Path):
    """visualizer.type is all that a config changes for DetVisualizationHook."""
    cfg = Config.fromfile(repo / "configs" / "mini" / "maskr_shapes.py")
    file = shapes_root / "annotations" / "instances_val.json"
    cfg.merge_from_dict(
        {
            "work_dir": str(tmp_path),
            "visualizer.type": "InstanceVisualizer",
            "visualizer.least_side": 0,
            "visualizer.legend": False,
            "visualizer.name": tmp_path.name,  # the hook takes the newest name's
            "default_hooks.visualization.draw": True,
            "default_hooks.visualization.score_thr": 0.0,
            "default_hooks.visualization.test_out_dir": "shown",
            "test_dataloader.dataset.data_root": str(shapes_root),
            "test_dataloader.num_workers": 0,
            "test_dataloader.persistent_workers": False,
            "test_evaluator.ann_file": str(file),
            "model.test_cfg.rcnn.score_thr": 0.0,
            "model.test_cfg.rcnn.max_per_img": 5,
        }
    )
    runner = Runner.from_cfg(cfg)
    assert type(runner.visualizer) is InstanceVisualizer
    assert runner.visualizer is InstanceVisualizer.get_current_instance()
    runner.test()
    pictures = [cv2.imread(str(path)) for path in sorted(tmp_path.glob("*/shown/*.png"))]
    originals = [cv2.imread(str(path)) for path in sorted((shapes_root / "val").glob("*.png"))]
    assert len(pictures) == len(originals) == 4
    for picture, original in zip(pictures, originals, strict=True):
        truth, found = picture[:, :96], picture[:, 96:]
        assert found.shape == original.shape
        assert (truth != original).any() and (found != original).any()


def test_small_images_are_drawn_enlarged():
    """By a whole factor, with or without instances; large ones and those with maps are not."""
    visualizer = InstanceVisualizer(least_side=100, legend=False)
    visualizer.dataset_meta = dict(classes=("disc",), palette=[(255, 0, 0)])
    image = np.full((30, 40, 3), 100, np.uint8)
    masks = torch.zeros((1, 30, 40), dtype=torch.bool)
    masks[:, 15:25, 10:20] = True
    found = InstanceData(
        bboxes=torch.tensor([[10.0, 15, 20, 25]]), labels=torch.tensor([0]), masks=masks,
        scores=torch.tensor([0.9]),
    )  # fmt: skip
    sample = DetDataSample(pred_instances=found, gt_instances=InstanceData())
    visualizer.add_datasample("a", image, sample)
    drawn = visualizer.get_image()
    assert drawn.shape == (120, 2 * 160, 3) and (drawn[:, :160] == 100).all()
    inside = drawn[66:94, 160 + 46 : 160 + 74].astype(int)
    assert (abs(inside.mean((0, 1)) - [170, 55, 55]) < 12).all()
    sample.gt_sem_seg = PixelData(data=torch.zeros((1, 30, 40), dtype=torch.long))
    visualizer.add_datasample("b", image, sample, draw_gt=False)
    assert visualizer.get_image().shape == image.shape


def test_windows(monkeypatch: pytest.MonkeyPatch):
    """Without a display mmengine would wait for a key; with one the picture is shown."""
    shown = []
    monkeypatch.setattr(DetLocalVisualizer, "show", lambda self, *args: shown.append(args))
    visualizer, picture = InstanceVisualizer(), np.zeros((4, 5, 3), np.uint8)
    monkeypatch.setattr("matplotlib.pyplot.get_backend", lambda: "Agg")
    with pytest.raises(UserError, match=r"no window can be opened here.*--show-dir"):
        visualizer.show(picture, wait_time=1)
    monkeypatch.setattr("matplotlib.pyplot.get_backend", lambda: "TkAgg")
    visualizer.show(picture, "a.jpg", wait_time=1)
    assert shown == [(picture, "a.jpg", 1, " ", "matplotlib")]


def cells(scores: bool) -> InstanceData:
    """Nine of 10 x 10 pixels, and two that overlap."""
    corners = [(20 * i, 20 * j) for i in range(3) for j in range(3)] + [(100, 40), (105, 45)]
    found = InstanceData(
        bboxes=torch.tensor([[x, y, x + 10.0, y + 10] for x, y in corners]),
        labels=torch.zeros(11, dtype=torch.long),
    )
    masks = torch.zeros((11, 100, 150), dtype=torch.bool)
    for mask, (x, y) in zip(masks, corners, strict=True):
        mask[y : y + 10, x : x + 10] = True
    found.masks = masks
    if scores:
        found.scores = torch.full((11,), 0.9)
    return found


def test_one_class_has_colors_by_instance_and_a_legend():
    """Enlarged fourfold, no letters on the picture, the same colors on both sides."""
    visualizer = InstanceVisualizer()
    visualizer.dataset_meta = dict(classes=("cell",), palette=[(220, 20, 60)] * 80)
    image = np.full((100, 150, 3), 100, np.uint8)
    sample = DetDataSample(gt_instances=cells(False), pred_instances=cells(True))
    visualizer.add_datasample("x", image, sample)
    picture = visualizer.get_image()
    height, width = 400, 600
    assert picture.shape[0] > height and picture.shape[1] == 2 * width + 8
    left, right = picture[:height, :width], picture[:height, width + 8 :]
    assert np.array_equal(left, right), "and neither has letters"
    inside = [left[4 * y + 20, 4 * x + 20] for x, y in [(0, 0), (20, 0), (100, 40), (105, 45)]]
    assert len({tuple(color.tolist()) for color in inside}) == 4
    strips = picture[height:]
    assert (strips == 255).all(-1).mean() > 0.5 and (strips < 100).any()
    visualizer.legend = False
    visualizer.add_datasample("x", image, sample)
    assert visualizer.get_image().shape == (height, 2 * width, 3)


def test_a_color_that_was_chosen_stays():
    """A palette of one color, a mask's color, or color_by decide."""
    image = np.full((100, 150, 3), 100, np.uint8)
    chosen = dict(classes=("cell",), palette=[(255, 0, 0)])
    inherited = dict(classes=("cell",))
    for options, meta in (
        (dict(), chosen),
        (dict(color_by="class"), dict(inherited, palette=[(255, 0, 0)] * 80)),
        (dict(mask_color=(255, 0, 0)), inherited),
    ):
        visualizer = InstanceVisualizer(least_side=0, mask_alpha=0.5, legend=False, **options)
        visualizer.dataset_meta = meta
        sample = DetDataSample(gt_instances=cells(False))
        visualizer.add_datasample("x", image, sample, draw_pred=False)
        drawn = visualizer.get_image()
        for x, y in [(5, 5), (25, 5), (112, 52)]:
            assert np.abs(drawn[y, x].astype(int) - [178, 50, 50]).max() <= 40, options
    with pytest.raises(UserError, match="color_by"):
        InstanceVisualizer(color_by="mood")


def test_labels_without_room_are_in_a_legend():
    """A single panel has one only where a label is left out."""
    visualizer = InstanceVisualizer()
    visualizer.dataset_meta = dict(classes=("stone", "tree"), palette=[(255, 0, 0), (0, 200, 0)])
    image = np.full((400, 400, 3), 100, np.uint8)
    found = InstanceData(
        bboxes=torch.tensor([[50.0, 50, 350, 350]]), labels=torch.tensor([1]),
        scores=torch.tensor([0.9]),
    )  # fmt: skip
    sample = DetDataSample(pred_instances=found)
    visualizer.add_datasample("x", image, sample, draw_gt=False)
    assert visualizer.get_image().shape == (400, 400, 3)
    found.bboxes = torch.tensor([[50.0, 50, 60, 60]])
    visualizer.add_datasample("x", image, sample, draw_gt=False)
    picture = visualizer.get_image()
    assert picture.shape[0] > 400
    assert (picture[400:] == (0, 200, 0)).all(-1).sum() > 30, "the class's color"


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_boxes_that_are_not_finite(
    visualizer: InstanceVisualizer, tmp_path: Path, bad: float, monkeypatch: pytest.MonkeyPatch
):
    """They are left out, with what belongs to them, and counted in the log."""
    said = []
    monkeypatch.setattr(drawable, "print_log", lambda text, **_: said.append(text))
    spoilt, other = predictions(), truth()
    spoilt.bboxes[0, 2] = bad
    other.bboxes.tensor[0, 2] = bad
    found = draw(visualizer, tmp_path, gt_instances=other, pred_instances=spoilt)
    assert [text.split(" are ")[0] for text in said] == [
        "1 of 2 boxes of the ground truth", "1 of 2 boxes of the prediction",
    ]  # fmt: skip
    kept = dict(gt_instances=truth()[[1]], pred_instances=predictions()[[1]])
    assert np.array_equal(found, draw(visualizer, tmp_path, **kept))
    far = predictions()
    far.bboxes[0] = torch.tensor([-1e30, -1e30, 1e30, 1e30])
    assert draw(visualizer, tmp_path, draw_gt=False, pred_instances=far).shape == (SIZE, SIZE, 3)


def test_keypoints_that_are_not_finite(visualizer: InstanceVisualizer, tmp_path: Path):
    spoilt, absent = truth(), truth()
    spoilt.keypoints[1, 1, 0] = float("nan")
    absent.keypoints[1, 1] = 0
    left, right = (draw(visualizer, tmp_path, draw_pred=False, gt_instances=part)
                   for part in (spoilt, absent))  # fmt: skip
    assert np.array_equal(left, right)


@pytest.mark.parametrize("palette", [META["palette"], "coco", "voc", "green", "random", None])
@pytest.mark.parametrize("legend", [True, False])
def test_labels_without_a_class(tmp_path: Path, palette: object, legend: bool):
    """Drawn with a color, and their number for a name."""
    visualizer = InstanceVisualizer(legend=legend, least_side=0, bbox_color=None)
    visualizer.dataset_meta = {**META, "palette": palette}
    instances = predictions()
    instances.labels = torch.tensor([10**9, -1])
    drawn = draw(visualizer, tmp_path, draw_gt=False, pred_instances=instances)
    assert (drawn[:SIZE] != 100).any()
    panel = visualizer._panel("", instances, META["classes"], palette)
    assert panel.names == ["class 1000000000", "class -1"]


@pytest.mark.parametrize(
    ("shape", "kind"), [((), np.uint8), ((1,), np.uint8), ((4,), np.uint8), ((3,), np.uint16)]
)
def test_images_of_other_bands(
    visualizer: InstanceVisualizer, tmp_path: Path, shape: tuple[int, ...], kind: type
):
    file = tmp_path / "drawn.png"
    image = np.full((SIZE, SIZE, *shape), 100, kind)
    if shape and shape[0] > 2:
        image[..., 0], image[..., -1] = 30, 90 if shape[0] == 3 else 0
    sample = DetDataSample(pred_instances=predictions())
    visualizer.add_datasample("x", image, sample, draw_gt=False, out_file=str(file))
    drawn = cv2.imread(str(file))[..., ::-1]
    expected = {(): [100] * 3, (1,): [100] * 3, (4,): [30, 100, 100], (3,): [30, 100, 90]}[shape]
    assert drawn.shape == (SIZE, SIZE, 3)
    assert drawn[2, 2].tolist() == expected


@pytest.mark.parametrize("image", [None, np.zeros(5), np.zeros((0, 4, 3)), np.zeros((1, 4, 4, 3))])
def test_what_is_no_image(visualizer: InstanceVisualizer, image: object):
    with pytest.raises(UserError, match="height and width"):
        visualizer.add_datasample("x", image, DetDataSample(pred_instances=predictions()))

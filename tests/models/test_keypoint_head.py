"""The keypoint head and its codec against Detectron2's, torchvision's and direct loops."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS

from mmdet_maskr.errors import UserError
from mmdet_maskr.models import HeatmapKeypointHead
from mmdet_maskr.models.keypoint_heads import HeatmapCodec

SIZE = 56


def small_head(**options: object) -> HeatmapKeypointHead:
    torch.manual_seed(0)
    head = HeatmapKeypointHead(
        **{**dict(num_keypoints=5, num_convs=2, in_channels=8, conv_out_channels=6), **options}
    )
    head.init_weights()
    return head


# ------------------------------------------------------------------------- the originals' outputs
def reference(repo: Path, name: str) -> tuple[dict, dict]:
    """Weights and outputs of a small model of the original code."""
    folder = repo.parent / "shared" / "reference" / name
    if not folder.is_dir():
        pytest.skip(f"needs the reference outputs in {folder}")
    if (folder / "model.pth").is_file():
        weights = torch.load(folder / "model.pth", weights_only=True)
    else:
        weights = pickle.loads((folder / "model_final.pkl").read_bytes())["model"]
        weights = {name: torch.from_numpy(array) for name, array in weights.items()}
    return weights, dict(np.load(folder / "outputs.npz"))


DETECTRON2 = dict(
    name="detectron2/keypoint_rcnn_R_50_FPN",
    features=["feature_p2", "feature_p3", "feature_p4", "feature_p5"],
    conv="roi_heads.keypoint_head.conv_fcn{}",
    first=1,
    step=1,
    deconv="roi_heads.keypoint_head.score_lowres",
    roi_layer=dict(type="RoIAlign", output_size=14, sampling_ratio=0, aligned=True),
    score="probability",
)
TORCHVISION = dict(
    name="torchvision/keypointrcnn_resnet50_fpn",
    features=["feature_0", "feature_1", "feature_2", "feature_3"],
    conv="roi_heads.keypoint_head.{}",
    first=0,
    step=2,
    deconv="roi_heads.keypoint_predictor.kps_score_lowres",
    roi_layer=dict(type="RoIAlign", output_size=14, sampling_ratio=2, aligned=False),
    score="logit",
)


@pytest.mark.parametrize("source", [DETECTRON2, TORCHVISION], ids=lambda s: s["name"].split("/")[0])
def test_same_heatmaps_and_keypoints_as_the_original(repo: Path, source: dict):
    """Logits within 1e-3 for given boxes; keypoints within 0.01 pixels for the detections."""
    weights, outputs = reference(repo, source["name"])
    head = HeatmapKeypointHead(in_channels=32, conv_out_channels=32, score=source["score"]).eval()
    mapped = {}
    for kind in ("weight", "bias"):
        for i in range(8):
            original = source["conv"].format(source["first"] + source["step"] * i)
            mapped[f"convs.{i}.conv.{kind}"] = weights[f"{original}.{kind}"]
        mapped[f"score_lowres.{kind}"] = weights[f"{source['deconv']}.{kind}"]
    head.load_state_dict(mapped, strict=True)
    extractor = MODELS.build(
        dict(
            type="LevelRoIExtractor",
            roi_layer=source["roi_layer"],
            out_channels=32,
            featmap_strides=[4, 8, 16, 32],
        )
    )
    features = tuple(torch.from_numpy(outputs[name]) for name in source["features"])

    def logits_of(boxes: np.ndarray) -> torch.Tensor:
        rois = F.pad(torch.from_numpy(boxes), (1, 0))
        with torch.no_grad():
            return head(extractor(features, rois))

    logits = logits_of(outputs["boxes"])
    assert logits.shape == (8, 17, SIZE, SIZE)
    assert np.abs(logits.numpy() - outputs["keypoint_logits"]).max() < 1e-3
    boxes = torch.from_numpy(outputs["det_boxes"])
    points, scores = head.codec.decode(logits_of(outputs["det_boxes"]), boxes)
    original = outputs["det_keypoints"]
    assert np.abs(points.numpy() - original[..., :2]).max() < 0.01
    if source["score"] == "logit":
        assert np.abs(scores.numpy() - outputs["det_keypoint_scores"]).max() < 1e-3
    else:
        assert np.abs(scores.numpy() - original[..., 2]).max() < 1e-4


# ------------------------------------------------------------------------------------------- codec
def targets_by_a_loop(keypoints: list, boxes: list, size: int) -> list[list[int | None]]:
    """Cells as section 5 of the paper and Detectron2's head have them; None where not valid."""
    rows = []
    for (x1, y1, x2, y2), points in zip(boxes, keypoints, strict=True):
        row = []
        for x, y, visibility in points:
            if visibility == 0 or not (x1 <= x <= x2 and y1 <= y <= y2):
                row.append(None)
                continue
            column = size - 1 if x == x2 else math.floor((x - x1) * size / (x2 - x1))
            line = size - 1 if y == y2 else math.floor((y - y1) * size / (y2 - y1))
            row.append(line * size + column)
        rows.append(row)
    return rows


def random_keypoints(count: int = 40, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes in quarter pixels, and keypoints in and around them."""
    draw = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, 400, (count, 2), generator=draw) / 4
    sides = torch.randint(8, 400, (count, 2), generator=draw) / 4
    points = corner[:, None] + sides[:, None] * (
        torch.rand(count, 5, 2, generator=draw) * 1.4 - 0.2
    )
    points[:, 0] = corner + sides  # exactly on the corner
    points[:, 1] = corner
    visibility = torch.randint(0, 3, (count, 5, 1), generator=draw).float()
    return torch.cat([points, visibility], dim=2), torch.cat([corner, corner + sides], dim=1)


def test_encode_equals_a_loop():
    keypoints, boxes = random_keypoints()
    cells = HeatmapCodec.encode(keypoints, boxes, SIZE)
    valid = HeatmapCodec.valid(keypoints, boxes)
    expected = targets_by_a_loop(keypoints.double().tolist(), boxes.double().tolist(), SIZE)
    different = 0
    for i, row in enumerate(expected):
        for k, cell in enumerate(row):
            assert bool(valid[i, k]) == (cell is not None)
            different += cell is not None and cell != int(cells[i, k])
    assert 60 < int(valid.sum()) < 160
    assert different <= 1, "but for rounding at the border of two cells"


def test_encode_then_decode_gives_each_point_within_one_cell():
    keypoints, boxes = random_keypoints(count=30, seed=1)
    cells = HeatmapCodec.encode(keypoints, boxes, SIZE)
    valid = HeatmapCodec.valid(keypoints, boxes)
    row, column = cells // SIZE, cells % SIZE
    grid = torch.arange(SIZE)
    squared = (grid[:, None] - row[..., None, None]) ** 2 + (grid - column[..., None, None]) ** 2
    points, scores = HeatmapCodec().decode(-squared / 4.0, boxes)
    cell_size = (boxes[:, 2:] - boxes[:, :2])[:, None] / SIZE
    off = (points - keypoints[..., :2]).abs() / cell_size.clamp(min=1)  # at least a pixel
    assert off[valid].max() <= 1
    assert ((scores > 0) & (scores <= 1)).all()


def test_a_box_without_width_has_no_cells_outside():
    keypoints = torch.tensor([[[5.0, 7.0, 2.0]]])
    boxes = torch.tensor([[5.0, 2.0, 5.0, 9.0]])
    assert 0 <= int(HeatmapCodec.encode(keypoints, boxes, SIZE)) < SIZE * SIZE


# -------------------------------------------------------------------------------------------- head
def test_heatmaps_have_four_times_the_resolution():
    head = small_head()
    assert head(torch.randn(3, 8, 14, 14)).shape == (3, 5, 56, 56)
    assert head(torch.randn(0, 8, 14, 14)).shape == (0, 5, 56, 56)
    assert small_head(upsample_ratio=1)(torch.randn(3, 8, 14, 14)).shape == (3, 5, 28, 28)


@pytest.mark.parametrize(("normalizer", "divisor"), [("visible", 7), ("fixed", 64.0)])
def test_loss_equals_a_direct_implementation(normalizer: str, divisor: float):
    head = small_head(loss_normalizer=normalizer, loss_weight=4.0)
    logits = torch.randn(3, 5, 8, 8, dtype=torch.float64)
    cells = torch.randint(0, 64, (3, 5))
    valid = torch.zeros(3, 5, dtype=torch.bool)
    valid.view(-1)[[0, 1, 4, 7, 9, 11, 14]] = True
    total = 0.0
    for i in range(3):
        for k in range(5):
            if valid[i, k]:
                values = logits[i, k].flatten().tolist()
                partition = math.log(sum(math.exp(v) for v in values))
                total += partition - values[int(cells[i, k])]
    loss = head.loss(logits, cells, valid, full_count=64.0)
    assert float(loss) == pytest.approx(4.0 * total / divisor, rel=1e-12)


def test_loss_without_valid_keypoints_is_zero_with_a_graph():
    head = small_head()
    for count in (0, 2):
        head.zero_grad(set_to_none=True)
        logits = head(torch.randn(count, 8, 14, 14))
        nothing = torch.zeros(count, 5, dtype=torch.long)
        loss = head.loss(logits, nothing, nothing.bool(), full_count=10.0)
        loss.backward()
        assert loss == 0
        assert all(p.grad is not None and (p.grad == 0).all() for p in head.parameters())


def test_initial_weights_are_detectron2s():
    """Kaiming with fan_out, biases 0 (c2_msra_fill's variance for convolutions with ReLU)."""
    head = HeatmapKeypointHead(in_channels=64, conv_out_channels=128, num_convs=1)
    head.init_weights()
    conv = head.convs[0].conv
    assert float(conv.weight.detach().std()) == pytest.approx(math.sqrt(2 / (9 * 128)), rel=0.02)
    assert (conv.bias == 0).all() and (head.score_lowres.bias == 0).all()


def test_labels_with_keypoints():
    labels = torch.tensor([0, 5, 2, 5])
    assert small_head(keypoint_labels=[5]).has_keypoints(labels).tolist() == [False, True] * 2
    assert small_head().has_keypoints(labels).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(num_keypoints=0), r"num_keypoints must be an integer of at least 1, not 0"),
        (dict(num_convs=-1), r"num_convs must be an integer of at least 0"),
        (dict(upsample_ratio=0.5), r"upsample_ratio must be an integer of at least 1"),
        (dict(loss_normalizer="sum"), r"loss_normalizer must be one of \('visible', 'fixed'\)"),
        (dict(score="raw"), r"score must be one of \('probability', 'logit'\)"),
    ],
)
def test_wrong_options(options: dict, message: str):
    with pytest.raises(UserError, match=message):
        small_head(**options)

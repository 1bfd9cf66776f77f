"""Exported models of every kind find what PyTorch finds, on images of any size, or nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from exported import KINDS, dataset_meta, expected_predictions, photo, thin_model

from mmdet_maskr.deploy import load
from mmdet_maskr.deploy.export import onnx_kernels, script_kernels
from mmdet_maskr.deploy.export.check import FP32, Differences
from mmdet_maskr.deploy.export.graph import ExportableDetector
from mmdet_maskr.deploy.export.write import export
from mmdet_maskr.deploy.files import FILES

PACKAGES = dict(onnx="onnxruntime", openvino="openvino", torchscript="torch")
SIZES = ((120, 160), (97, 61), (30, 170))


def compare(model, cfg, exported, images) -> Differences:
    differences = Differences()
    for image in images:
        expected = expected_predictions(model, cfg, image)
        differences.add(expected, exported(image)["predictions"][0], FP32.iou)
    return differences


def check(differences: Differences) -> None:
    assert differences.expected >= 20
    assert differences.missing <= 2, differences
    too_far = [row for row in differences.rows(FP32)[1:] if not row[3]]
    assert not too_far, differences


@pytest.mark.parametrize("kind", KINDS)
def test_onnx_of_every_kind(kind: str, tmp_path: Path):
    pytest.importorskip("onnxruntime")
    model, cfg = thin_model(KINDS[kind])
    export(model, cfg, dataset_meta(model), tmp_path, "onnx")
    exported = load(tmp_path, threads=1)
    differences = compare(model, cfg, exported, [photo(*size) for size in SIZES])
    check(differences)
    names = set(exported.metadata["outputs"])
    assert ("masks" in names) == (kind not in ("boxes", "keypoints"))
    assert ("heatmaps" in names) == (kind in ("keypoints", "joint"))
    assert bool(differences.foreground) == ("masks" in names)
    assert bool(differences.keypoints) == ("heatmaps" in names)


@pytest.mark.parametrize("form", ["openvino", "torchscript"])
@pytest.mark.parametrize("kind", ["masks", "keypoints"])
def test_other_formats(form: str, kind: str, tmp_path: Path):
    pytest.importorskip(PACKAGES[form])
    model, cfg = thin_model(KINDS[kind])
    export(model, cfg, dataset_meta(model), tmp_path, form)
    check(compare(model, cfg, load(tmp_path, threads=1), [photo(*size) for size in SIZES]))
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        {"metadata.json", FILES[form], *(["model.bin"] if form == "openvino" else [])}
    )


@pytest.mark.parametrize("form", list(FILES))
def test_nothing_is_found(form: str, tmp_path: Path):
    """No score passes the threshold: no boxes, masks and keypoints, in the right shapes."""
    pytest.importorskip(PACKAGES[form])
    model, cfg = thin_model("maskr_joint_r50_fpn_1x.py", score_thr=0.9999)
    export(model, cfg, dataset_meta(model), tmp_path, form)
    exported = load(tmp_path, threads=1)
    image = photo(90, 120)
    assert not expected_predictions(model, cfg, image)["scores"]
    found = exported(image)["predictions"][0]
    assert found == dict(
        labels=[], scores=[], bboxes=[], masks=[], keypoints=[], keypoint_scores=[]
    )
    bitmaps = exported(image, masks="bitmaps")["predictions"][0]["masks"]
    assert bitmaps.shape == (0, 90, 120) and bitmaps.dtype == bool
    outputs = exported.run(np.zeros((1, 3, 64, 64), np.float32))
    assert outputs["boxes"].shape == (0, 4) and outputs["heatmaps"].shape[:2] == (0, 17)


@pytest.mark.parametrize("form", list(FILES))
def test_images_smaller_than_the_stride(form: str, tmp_path: Path):
    """Of a graph input of a few pixels, far fewer than the 32 of a cell of the coarsest map."""
    pytest.importorskip(PACKAGES[form])
    model, cfg = thin_model(KINDS["masks"])
    export(model, cfg, dataset_meta(model), tmp_path, form)
    exported = load(tmp_path, threads=1)
    detector = ExportableDetector(model, onnx_kernels)
    for size in ((5, 7), (1, 1), (1, 40)):
        image = photo(*size).astype(np.float32).transpose(2, 0, 1)[None].copy()
        with torch.no_grad():
            expected = detector(torch.from_numpy(image))
        found = exported.run(image)
        assert found["scores"].shape == expected[1].shape
        np.testing.assert_allclose(found["scores"], expected[1].numpy(), atol=1e-4)
        # of one row of pixels, boxes that differ in y alone score the same: any of them survives
        tied = 1 if size[0] == 1 else 1e-2
        boxes = expected[0].numpy()
        np.testing.assert_allclose(found["boxes"][:, ::2], boxes[:, ::2], atol=1e-2)
        np.testing.assert_allclose(found["boxes"][:, 1::2], boxes[:, 1::2], atol=tied)


def test_graph_of_detectron2s_convention_drops_what_it_drops():
    """A RoI that is not finite is out before NMS, a detection without area at the end."""
    model, _ = thin_model("compositions/faster_r50_fpn_1x.py", convention="detectron2")
    boxes = ExportableDetector(model, script_kernels).boxes
    proposals = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 8], [200, 10, 220, 30], [50, 50, 60, 60]])
    logits = torch.full((4, boxes.num_classes + 1), -10.0)
    logits[:, 0] = torch.tensor([6.0, 7, 8, 9])
    for wrong in ("nan", "inf"):
        deltas = torch.zeros(4, 4 * boxes.num_classes)
        deltas[3, 4] = float(wrong)
        boxes.head = Given(logits, deltas, boxes.head.reg_class_agnostic)
        features = [torch.zeros(1, 256, s, s) for s in (32, 16, 8, 4, 2)]
        boxes.pooler = Given(torch.zeros(4, 256, 7, 7), None)
        found, _, labels = boxes(features, proposals, torch.tensor([128.0] * 4))
        assert found.tolist() == [[0, 0, 9, 8]] and labels.tolist() == [0]


class Given(torch.nn.Module):
    """Gives what it was given."""

    def __init__(self, first: object, second: object, reg_class_agnostic: bool = False) -> None:
        super().__init__()
        self.outputs, self.reg_class_agnostic = (first, second), reg_class_agnostic

    def forward(self, *args: object) -> tuple:
        return self.outputs


@pytest.mark.parametrize("form", ["onnx", "torchscript"])
def test_detectron2s_convention(form: str, tmp_path: Path):
    pytest.importorskip(PACKAGES[form])
    model, cfg = thin_model(KINDS["masks"], convention="detectron2")
    model.test_cfg.rpn.convention = "detectron2"
    export(model, cfg, dataset_meta(model), tmp_path, form)
    check(compare(model, cfg, load(tmp_path, threads=1), [photo(*size) for size in SIZES]))


def test_graph_has_standard_operators_only(tmp_path: Path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    model, cfg = thin_model(KINDS["joint"])
    export(model, cfg, dataset_meta(model), tmp_path, "onnx", opset=16)
    graph = onnx.load(tmp_path / FILES["onnx"])
    onnx.checker.check_model(graph, full_check=True)
    assert [(opset.domain, opset.version) for opset in graph.opset_import] == [("", 16)]
    kinds = {node.op_type for node in graph.graph.node}
    assert {"NonMaxSuppression", "RoiAlign"} <= kinds
    height, width = graph.graph.input[0].type.tensor_type.shape.dim[2:]
    assert (height.dim_param, width.dim_param) == ("height", "width")


def test_newest_opset(tmp_path: Path):
    pytest.importorskip("onnxruntime")
    model, cfg = thin_model(KINDS["masks"])
    export(model, cfg, dataset_meta(model), tmp_path, "onnx", opset=20)
    check(compare(model, cfg, load(tmp_path, threads=1), [photo(*size) for size in SIZES]))


def boxes_of(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 200 - 20
    return torch.cat([corner, corner + torch.rand(count, 2, generator=generator) ** 3 * 150], 1)


@pytest.mark.parametrize("sampling_ratio", [0, 2])
@pytest.mark.parametrize("aligned", [True, False])
def test_script_roi_align(sampling_ratio: int, aligned: bool):
    """TorchScript's RoIAlign is mmcv's, also outside of the map, for points and for no RoI."""
    from mmcv.ops import roi_align

    boxes = boxes_of(50)
    boxes[0, 2:] = boxes[0, :2]
    boxes[1] = torch.tensor([-300.0, 5, -200, 20])
    boxes[2] = torch.tensor([0.0, 3, 180, 4])
    features = torch.randn(1, 5, 23, 31, generator=torch.Generator().manual_seed(1))
    arguments = ((7, 3), 0.125, sampling_ratio)
    rois = torch.cat([torch.zeros(50, 1), boxes], 1)
    expected = roi_align(features, rois, *arguments, "avg", aligned)
    found = script_kernels.roi_align(features, boxes, *arguments, aligned)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert script_kernels.roi_align(features, boxes[:0], *arguments, aligned).shape == (0, 5, 7, 3)


def test_script_nms():
    """TorchScript's NMS keeps what mmcv's does, in each of several groups, in blocks of 512."""
    boxes = torch.stack([boxes_of(700, seed) for seed in range(2)])
    scores = torch.rand(2, 700, generator=torch.Generator().manual_seed(2))
    expected = onnx_kernels.nms(boxes, scores, 0.5, 0.1, 1000)
    found = script_kernels.nms(boxes, scores, 0.5, 0.1, 1000)
    assert set(map(tuple, found.tolist())) == set(map(tuple, expected.tolist()))
    assert len(found) > 520
    assert script_kernels.nms(boxes, scores, 0.5, 2.0, 10).shape == (0, 2)
    # of one group, the best ones
    assert len(script_kernels.nms(boxes[:1], scores[:1], 0.5, 0.1, 7)) == 7

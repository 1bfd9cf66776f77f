"""The stored outputs of Detectron2's and torchvision's own code are reached."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmengine.config import Config

from mmdet_maskr.weights import from_detectron2, from_torchvision, save
from mmdet_maskr.weights.output import build, load
from mmdet_maskr.weights.verify import ReferenceCheck, load_reference, match_detections

DETECTRON2 = ("mask_rcnn_R_50_FPN", "mask_rcnn_R_50_C4", "keypoint_rcnn_R_50_FPN")
TORCHVISION = (
    "maskrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn_v2",
    "keypointrcnn_resnet50_fpn",
)
# Another processor rounds otherwise than the one on which the outputs were stored, and random
# weights have near-ties that this decides.
NEAR_TIES = 2


@pytest.fixture(scope="module")
def references(repo: Path) -> Path:
    folder = repo.parent / "shared" / "reference"
    if not folder.is_dir():
        pytest.skip(f"needs the folder {folder} with outputs of Detectron2 and torchvision")
    return folder


def convert(references: Path, name: str, **options):
    if name in DETECTRON2:
        folder = references / "detectron2" / name
        return folder, from_detectron2(folder / "model_final.pkl", folder / "config.yaml")
    folder = references / "torchvision" / name
    return folder, from_torchvision(folder / "model.pth", **options)


@pytest.mark.parametrize("name", [*DETECTRON2, *TORCHVISION])
def test_outputs_are_reached(references: Path, tmp_path: Path, name: str):
    """Features, logits of given boxes, all of 100 detections, every mask pixel, keypoints."""
    options = dict(keep_unused=True) if name.startswith("maskrcnn") else {}
    folder, conversion = convert(references, name, **options)
    save(conversion, tmp_path)
    comparison = ReferenceCheck(
        load(tmp_path),
        load_reference(folder / "outputs.npz"),
        conversion.source_labels,
        conversion.source_background,
    )
    table = comparison.rows()
    assert [row for row in table if not row.passed] == []
    rows = {row.name: row.difference for row in table}
    assert len(rows) == (11 if name.startswith("keypoint") else 10)
    assert rows["detections not found"] <= NEAR_TIES


def test_dropped_classes_keep_their_share_of_the_softmax(references: Path):
    """The 80 classes' scores are torchvision's; detections of unused ids are not there."""
    folder, conversion = convert(references, "maskrcnn_resnet50_fpn")
    assert conversion.settings["model"]["roi_head"]["bbox_head"]["num_classes"] == 80
    model = build(conversion.settings["model"])
    model.load_state_dict(conversion.state)
    reference = load_reference(folder / "outputs.npz")
    assert (reference.arrays["det_labels"] == 45).sum() == 6  # an id that COCO does not use
    rows = ReferenceCheck(model, reference, conversion.source_labels, 0).rows()
    rows = {row.name: row for row in rows}
    assert rows["detections not found"].difference <= NEAR_TIES
    assert rows["detections not found"].unit == "of 94"
    assert rows["scores"].passed


@pytest.mark.parametrize("name", ["mask_rcnn_R_50_FPN", "maskrcnn_resnet50_fpn_v2"])
def test_an_image_file_gives_the_same(references: Path, tmp_path: Path, name: str):
    """Through the generated pipeline, at the size of the stored outputs."""
    options = dict(keep_unused=True) if name in TORCHVISION else {}
    folder, conversion = convert(references, name, **options)
    save(conversion, tmp_path)
    cfg = Config.fromfile(tmp_path / "config.py")
    steps = [step for step in cfg.test_pipeline if step.type != "LoadAnnotations"]
    steps[1].scale = (416, 320)
    data = Compose(steps)(dict(img_path=str(folder / "image.png"), img_id=0))
    with torch.no_grad():
        model = load(tmp_path)
        batch = model.data_preprocessor(
            dict(inputs=[data["inputs"]], data_samples=[data["data_samples"]])
        )
        (result,) = model.predict(batch["inputs"], batch["data_samples"])
    arrays = load_reference(folder / "outputs.npz").arrays
    found = result.pred_instances
    labels = np.array(conversion.source_labels)[found.labels.numpy()]
    pairs = match_detections(
        (arrays["det_boxes"], arrays["det_scores"], arrays["det_labels"]),
        (found.bboxes.numpy(), found.scores.numpy(), labels),
    )
    assert len(pairs) >= len(arrays["det_boxes"]) - NEAR_TIES


def test_the_comparison_notices(references: Path, tmp_path: Path):
    """One channel of one weight changed in the third digit is too far."""
    folder, conversion = convert(references, "mask_rcnn_R_50_FPN")
    conversion.state["backbone.layer1.0.conv1.weight"][0] *= 1.02
    model = build(conversion.settings["model"])
    model.load_state_dict(conversion.state)
    reference = load_reference(folder / "outputs.npz")
    rows = ReferenceCheck(model, reference, conversion.source_labels, 80).rows()
    assert not all(row.passed for row in rows)


def test_the_tool(references: Path, tmp_path: Path, repo: Path, monkeypatch, capsys):
    """Converts and prints the table; exit code 0, and 1 where the image is another."""
    sys.path.insert(0, str(repo / "tools"))
    import convert_weights

    folder = references / "detectron2" / "mask_rcnn_R_50_FPN"
    command = [
        "convert_weights.py",
        str(folder / "model_final.pkl"),
        str(tmp_path / "out"),
        *("--from", "detectron2", "--source-config", str(folder / "config.yaml")),
        *("--verify", str(folder / "outputs.npz")),
    ]
    monkeypatch.setattr(sys, "argv", command)
    convert_weights.main()
    printed = capsys.readouterr().out
    assert "mask pixels" in printed and "TOO FAR" not in printed
    assert sorted(os.listdir(tmp_path / "out")) == ["config.py", "model.pth"]
    other = cv2.imread(str(folder / "image.png"))[:, ::-1]
    cv2.imwrite(str(tmp_path / "mirrored.png"), other)
    monkeypatch.setattr(sys, "argv", [*command, "--verify-image", str(tmp_path / "mirrored.png")])
    with pytest.raises(SystemExit) as caught:
        convert_weights.main()
    assert caught.value.code == 1
    assert "TOO FAR" in capsys.readouterr().out

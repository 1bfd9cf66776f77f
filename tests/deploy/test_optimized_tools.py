"""tools/test.py and the inferencer give with an optimized model what they give without."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from forked import run_tool
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmdet_maskr.apis import MaskRInferencer
from mmdet_maskr.deploy.fast_forms import FastForm


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, repo: Path) -> Path:
    """The shapes model with random weights."""
    init_default_scope("mmdet")
    model = MODELS.build(Config.fromfile(repo / "configs" / "mini" / "maskr_shapes.py").model)
    torch.manual_seed(0)
    model.init_weights()
    file = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save(dict(state_dict=model.state_dict(), meta={}), file)
    return file


def test_tool(checkpoint: Path, repo: Path, shapes_root: Path, tmp_path: Path):
    config = str(repo / "configs" / "mini" / "maskr_shapes.py")
    scores, boxes = [], []
    for options in ([], ["--optimize"]):
        out = tmp_path / f"{len(options)}.pkl"
        arguments = [
            config, str(checkpoint), "--data-root", str(shapes_root), "--work-dir", str(tmp_path),
            "--out", str(out), *options, "--cfg-options", "test_dataloader.num_workers=0",
            "test_dataloader.persistent_workers=False", "model.test_cfg.rcnn.score_thr=0.0",
        ]  # fmt: skip
        code, printed = run_tool(repo / "tools" / "test.py", arguments)
        assert code == 0, printed[-2000:]
        assert ("optimized for inference" in printed) == bool(options)
        scores.append(re.findall(r"coco/(\w+_mAP\w*): (\S+)", printed))
        with out.open("rb") as file:
            boxes.append(np.concatenate([r["pred_instances"]["bboxes"] for r in pickle.load(file)]))
    assert len(scores[0]) > 10 and scores[0] == scores[1]
    np.testing.assert_allclose(boxes[1], boxes[0], atol=0.01)


def test_compile_needs_optimize(checkpoint: Path, repo: Path, tmp_path: Path):
    config = str(repo / "configs" / "mini" / "maskr_shapes.py")
    arguments = [config, str(checkpoint), "--compile", "--work-dir", str(tmp_path)]
    code, output = run_tool(repo / "tools" / "test.py", arguments)
    assert code == 2
    assert "--compile has an effect only with --optimize" in output


def test_inferencer(checkpoint: Path, repo: Path):
    config = repo / "configs" / "mini" / "maskr_shapes.py"
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    found = []
    for optimize in (False, True):
        inferencer = MaskRInferencer(
            config, checkpoint, "cpu", show_progress=False, optimize=optimize
        )
        assert isinstance(inferencer.model, FastForm) == optimize
        found.append(inferencer(image)["predictions"][0])
    plain, fast = found
    assert plain.keys() == fast.keys() and plain["labels"] == fast["labels"]
    np.testing.assert_allclose(fast["bboxes"], plain["bboxes"], atol=0.01)
    assert [mask["size"] for mask in fast["masks"]] == [mask["size"] for mask in plain["masks"]]

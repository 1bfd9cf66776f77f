"""The tutorial runs from start to end, and the page has the config that it writes."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import CosineAnnealingLR

from mmdet_maskr.apis import MaskRInferencer


@pytest.fixture(scope="module")
def tutorial(repo: Path):
    script = repo / "docs" / "tutorial" / "own_dataset.py"
    spec = importlib.util.spec_from_file_location("tutorial", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, repo: Path) -> tuple[Path, str]:
    """Work dir and output of the tutorial on a few images, for a few iterations."""
    out = tmp_path_factory.mktemp("tutorial") / "out"
    script = str(repo / "docs" / "tutorial" / "own_dataset.py")
    options = ["--out", str(out), "--images", "8", "--iterations", "4"]
    env = {**os.environ, "PYTHONPATH": str(repo)}
    done = subprocess.run(
        [sys.executable, script, *options], capture_output=True, text=True, env=env
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return out, done.stdout + done.stderr


@pytest.mark.slow
def test_runs_to_the_end(finished: tuple[Path, str]):
    out, output = finished
    assert (out / "iter_4.pth").is_file()
    assert "coco/segm_mAP:" in output
    assert len(list(out.glob("test/*/pictures/*.png"))) == 4
    assert "<html" in (out / "compare.html").read_text(encoding="utf-8")
    assert (out / "exported" / "model.pt").is_file()


@pytest.mark.slow
def test_checks_find_the_mistakes_and_fix_them(finished: tuple[Path, str]):
    out, output = finished
    for code in ("box-degenerate", "file-missing"):
        assert len(re.findall(rf"^error +1 +{code} ", output, re.MULTILINE)) == 1
    before, after = (
        json.loads((out / "photos" / n).read_text()) for n in ("train.json", "clean.json")
    )
    assert len(before["images"]) - len(after["images"]) == 1
    assert "lost.png" not in [image["file_name"] for image in after["images"]]


@pytest.mark.slow
def test_model_is_usable(finished: tuple[Path, str]):
    out, _ = finished
    inferencer = MaskRInferencer(out / "own.py", out / "iter_4.pth", device="cpu")
    found = inferencer(out / "photos" / "images" / "val_000001.png")["predictions"][0]
    assert set(found) == {"labels", "scores", "bboxes", "masks"}
    assert inferencer.model.dataset_meta["classes"] == ("disc", "box", "triangle")


def test_page_has_config_and_commands(tutorial, repo: Path, tmp_path: Path):
    page = (repo / "docs" / "tutorial.md").read_text(encoding="utf-8")
    data, out = Path("work_dirs/tutorial/photos"), Path("work_dirs/tutorial")
    config = tutorial.write_config(data, tmp_path, tutorial.CLASSES, 300).read_text()
    config = config.replace(f"{repo}/configs", "configs")
    assert f"```python\n{config}```" in page
    assert 13 <= len(config.splitlines()) <= 18
    words = " ".join(page.replace("\\\n", " ").split())
    steps = tutorial.steps(data, out / "own.py", out, 300)
    for title in ("check the annotations", "train", "test, and draw", "compare", "export"):
        command = next(step.command for step in steps if step.title == title)
        assert f"python {' '.join(command)}" in words


@pytest.mark.parametrize("iterations", [300, 2000])
def test_rate_falls_to_the_end(tutorial, tmp_path: Path, iterations: int):
    """Half of the learning rate after half of the training, a hundredth at its end."""
    cfg = Config.fromfile(tutorial.write_config(tmp_path, tmp_path, ["cat"], iterations))
    assert cfg.train_cfg.max_iters == iterations
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = dict(cfg.param_scheduler[1])
    assert (schedule.pop("type"), schedule.pop("by_epoch")) == ("CosineAnnealingLR", False)
    scheduler = CosineAnnealingLR(optimizer, by_epoch=False, **schedule)
    rates = []
    for _ in range(iterations):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates[iterations // 2] == pytest.approx(0.505, abs=0.01)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.01, abs=1e-4)


def test_folder_without_its_files(repo: Path, tmp_path: Path):
    script = str(repo / "docs" / "tutorial" / "own_dataset.py")
    done = subprocess.run(
        [sys.executable, script, "--data", str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 2 and "lacks ['train.json', 'val.json', 'images']" in done.stderr

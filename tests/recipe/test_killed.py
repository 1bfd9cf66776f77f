"""Killed anywhere, the same command ends as if nothing had happened."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import forked
import pytest
import torch
from test_recipe import photos

import maskr

WORDS = [
    *("--epochs", "6", "--cfg-options", "scale=96,64", "default_hooks.logger.interval=1"),
    *(f"{split}_dataloader.num_workers=0" for split in ("train", "val")),
    *(f"{split}_dataloader.persistent_workers=False" for split in ("train", "val")),
    *("train_cfg.val_interval=3", "default_hooks.checkpoint.interval=3"),
]


def losses(work: Path) -> dict[int, float]:
    """The last that is logged of each iteration."""
    found = {}
    for file in sorted(work.glob("*/vis_data/scalars.json")):
        for line in file.read_text(encoding="utf-8").splitlines():
            if line.endswith("}") and "loss_mask" in (record := json.loads(line)):
                found[record["step"]] = record["loss"]
    return found


def scores(work: Path) -> dict[int, float]:
    found = {}
    for file in sorted(work.glob("*/vis_data/scalars.json")):
        for line in file.read_text(encoding="utf-8").splitlines():
            if line.endswith("}") and "coco/segm_mAP" in (record := json.loads(line)):
                found[record["step"]] = record["coco/segm_mAP"]
    return found


def weights(work: Path, kind: str) -> tuple[str, dict[str, torch.Tensor]]:
    (file,) = work.glob(f"{kind}_*.pth")
    return file.name, torch.load(file, weights_only=False)["state_dict"]


@pytest.mark.slow
def test_killed_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Before and after the config, between checkpoints, in a validation, and in the report."""
    monkeypatch.setenv("MMDET_MASKR_CACHE", str(tmp_path / "cache"))
    root = photos(tmp_path / "photos", count=10)

    def start(work: Path) -> int:
        words = ["train", str(root), "--work-dir", str(work), *WORDS]
        return forked.fork(lambda: maskr.main(words), tmp_path / f"{work.name}.txt")

    def killed(work: Path, when: Callable[[], bool], after: float = 0.0) -> None:
        child = start(work)
        end = time.monotonic() + 90
        while not when() and time.monotonic() < end:
            time.sleep(0.005)
        assert when()
        time.sleep(after)
        forked.kill(child)

    def logged(text: str) -> Callable[[], bool]:
        return lambda: any(text in p.read_text(errors="replace") for p in whole.glob("*/*.log"))

    whole = tmp_path / "whole"
    assert forked.finish(start(whole)) == 0, (tmp_path / "whole.txt").read_text()[-2000:]
    undisturbed, whole = whole, tmp_path / "parts"  # one after the other, in the same folder
    killed(whole, (whole / "recipe" / "parts.py").is_file)
    killed(whole, logged("Iter(train) [ 2/"))
    killed(whole, (whole / "iter_3.pth").is_file)
    killed(whole, logged("Iter(train) [ 5/"))
    killed(whole, lambda: bool(list(whole.glob("iter_6.pth*"))), 0.1)
    killed(whole, lambda: "best checkpoint" in (tmp_path / "parts.txt").read_text())
    assert forked.finish(start(whole)) == 0, (tmp_path / "parts.txt").read_text()[-2000:]
    for kind in ("iter", "best"):
        (name, expected), (found_name, found) = weights(undisturbed, kind), weights(whole, kind)
        assert found_name == name
        assert all(torch.equal(found[key], value) for key, value in expected.items())
    assert len(losses(undisturbed)) > 6
    assert losses(whole) == losses(undisturbed)
    assert scores(whole) == scores(undisturbed)
    assert (whole / "report.html").is_file()
    last = [path.read_text()[path.read_text().rindex("AP50"):] for path in
            (tmp_path / "whole.txt", tmp_path / "parts.txt")]  # fmt: skip
    assert last[0].split("best")[0] == last[1].split("best")[0]

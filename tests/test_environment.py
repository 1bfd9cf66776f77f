"""``python -m mmdet_maskr`` says what a bug report needs, and nothing about who runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import mmdet
import pytest
import torch

from mmdet_maskr import environment


def test_report(repo: Path):
    command = [sys.executable, "-m", "mmdet_maskr"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=repo)
    assert done.returncode == 0, done.stderr
    text = done.stdout
    for expected in (torch.__version__, mmdet.__version__, "numpy:", "nms works, roi_align works",
                     "ParallelRoIHead", "CocoInstanceMetric", "InstanceVisualizer"):  # fmt: skip
        assert expected in text
    assert str(repo) not in text and str(Path.home()) not in text


def test_ops_that_do_not_run(monkeypatch: pytest.MonkeyPatch):
    def missing(device: str) -> bool:
        raise RuntimeError(f"nms_impl: implementation for device {device} not found.\nmore")

    monkeypatch.setitem(environment._PROBES, "nms", missing)
    monkeypatch.setitem(environment._PROBES, "roi_align", lambda device: False)
    assert environment.ops()["on cpu"] == (
        "nms fails (nms_impl: implementation for device cpu not found.), "
        "roi_align gives wrong numbers"
    )


def test_parts_are_ours_alone():
    found = environment.parts()
    assert "ShapesDataset" in found["DATASETS"] and "CocoDataset" not in found["DATASETS"]

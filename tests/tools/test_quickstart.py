"""The quickstart does each step once, goes on where it was interrupted, and reports."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from mmdet_maskr.errors import UserError

METRICS = {
    f"coco/{key}_{column}": value
    for key, value in (("bbox", 0.5), ("segm", 0.45), ("keypoints", 0.4))
    for column in ("mAP", "mAP_50", "mAP_75", "mAP_s", "mAP_m")
}
del METRICS["coco/keypoints_mAP_s"]  # COCO has none


@pytest.fixture
def quickstart(repo: Path, monkeypatch: pytest.MonkeyPatch):
    file = repo / "tools" / "_quickstart_steps.py"
    spec = importlib.util.spec_from_file_location("_quickstart_steps", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class FakeTools:
    """Stands in for the tools: leaves what they leave, and can fail once."""

    def __init__(self, work_dir: Path, data_root: Path, fail: str | None = None) -> None:
        self.work_dir, self.data_root, self.fail = work_dir, data_root, fail
        self.called: list[str] = []

    def __call__(self, quickstart, tool: str, *args: str) -> None:
        self.called.append(tool)
        if tool == self.fail:
            self.fail = None
            raise UserError(f"tools/{tool} ended with exit code 1")
        if tool == "make_shapes.py":
            (self.data_root / "annotations").mkdir(parents=True)
            (self.data_root / "annotations" / "instances_val.json").touch()
        elif tool == "train.py":
            assert "--resume" in args
            quickstart.checkpoint.touch()
        else:
            file = self.work_dir / "test" / "20260101_000000" / "20260101_000000.json"
            file.parent.mkdir(parents=True)
            file.write_text(json.dumps(METRICS))


def run(module, tools: FakeTools, monkeypatch: pytest.MonkeyPatch) -> dict:
    def draw(self) -> None:
        tools.called.append("draw")
        (self.work_dir / "pictures").mkdir()
        (self.work_dir / "pictures" / "sheet.png").touch()

    monkeypatch.setattr(module.Quickstart, "_call", lambda self, *args: tools(self, *args))
    monkeypatch.setattr(module.Quickstart, "draw", draw)
    arguments = ["--work-dir", str(tools.work_dir), "--data-root", str(tools.data_root)]
    monkeypatch.setattr(sys, "argv", ["quickstart.py", *arguments, "--setup-seconds", "100"])
    module.main()
    return json.loads((tools.work_dir / "result.json").read_text())


def test_steps_are_done_once(quickstart, tmp_path: Path, monkeypatch, capsys):
    tools = FakeTools(tmp_path / "work", tmp_path / "data")
    result = run(quickstart, tools, monkeypatch)
    assert tools.called == ["make_shapes.py", "train.py", "test.py", "draw"]
    assert result["bbox_mAP"] == 0.5 and result["segm_mAP"] == 0.45
    assert result["setup_seconds"] == 100 <= result["total_seconds"]
    assert result["keypoints_mAP"] == 0.4
    table = (tmp_path / "work" / "ap_table.md").read_text()
    assert "| mask | 45.0 |" in table and "| keypoint | 40.0 | 40.0 | 40.0 |  | 40.0 |" in table
    tools.called.clear()
    assert run(quickstart, tools, monkeypatch) == result
    assert tools.called == []
    assert capsys.readouterr().out.count("done already") == 4


def test_goes_on_where_it_stopped(quickstart, tmp_path: Path, monkeypatch):
    tools = FakeTools(tmp_path / "work", tmp_path / "data", fail="train.py")
    with pytest.raises(UserError, match="exit code 1"):
        run(quickstart, tools, monkeypatch)
    tools.called.clear()
    run(quickstart, tools, monkeypatch)
    assert tools.called == ["train.py", "test.py", "draw"]

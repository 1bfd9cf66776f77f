"""tools/ablate.py: lists, dry runs, reports, and what it refuses."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from mmdet_maskr.ablations.jobs import Settings, jobs_of, write_json
from mmdet_maskr.ablations.tables import TABLES
from mmdet_maskr.cli import ablate as body
from mmdet_maskr.errors import UserError


@pytest.fixture
def ablate(repo: Path):
    spec = importlib.util.spec_from_file_location("ablate", repo / "tools" / "ablate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def call(ablate, monkeypatch: pytest.MonkeyPatch, capsys, tmp_path: Path):
    """Call the tool as from a shell in an empty folder; gives its output."""
    monkeypatch.chdir(tmp_path)

    def run(*args: str, code: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["ablate.py", *args])
        ended = 0
        try:
            ablate.main()
        except SystemExit as ending:
            ended = ending.code
            assert ended != 0, "what goes well returns"
        assert ended == code
        return capsys.readouterr().out

    return run


@pytest.fixture
def finished(repo: Path, tmp_path: Path):
    """Results of Table 6, two seeds, in the default work dir."""
    settings = Settings(repo, "mini", tmp_path / "work_dirs" / "ablations")
    table = TABLES["6"]
    for job in jobs_of([(table, row) for row in table.rows], range(2), settings):
        value = 50.0 + job.seed - 10 * (job.rows[0][1] == "RoIPool")
        result = dict(metrics={"keypoints_mAP": value}, config=job.config, seconds=100.0)
        write_json(job.folder / "result.json", result)


def test_list(call, finished):
    """Rows that are done are listed for every table that they are in."""
    lines = [line.split() for line in call("list").splitlines()]
    done = [line for line in lines if "done," in line]
    assert len(done) == 4  # RoIPool, and RoIAlign, which is keypoint-only in Tables 4 and 5
    assert any("Table 2c:" in " ".join(line) for line in lines)
    assert "Table 2c" not in call("list", "6")


def test_dry_run(call, repo: Path):
    """The commands as one would type them, and the GPU hours of what is missing."""
    arguments = ("--scale", "coco", "--launcher", "pytorch", "--gpus", "8", "--dry-run")
    lines = call("run", "6", *arguments).splitlines()
    train = next(line for line in lines if "roipool" in line and "dist_train" in line)
    assert train.startswith(
        "python tools/dist_train.py configs/ablations/table_6/maskr_keypoint_roipool_90k.py 8 "
    )
    assert lines[-1].startswith("in all about 126 GPU hours on V100s, 15 h 45 min on 8")
    assert call("run", "6", "--scale", "coco", "--dry-run").count("python tools/train.py") == 2


def test_run_does_nothing_when_all_is_done(call, finished):
    """Neither data nor trainings are made again."""
    assert "4 runs, 4 of them done already" in call("run", "6", "--seeds", "2")
    assert not Path("data").exists()
    # records of older versions do not say of which data they are
    assert "4 of them done already" in call("run", "6", "--seeds", "2", "--data-root", "other")


def test_a_row_that_fails_ends_with_1(call, finished, tmp_path: Path):
    """Here one whose records cannot be read; the others are done."""
    next((tmp_path / "work_dirs" / "ablations").rglob("result.json")).write_text("{")
    said = call("run", "6", "--seeds", "2", "--data-root", str(tmp_path), code=1)
    assert said.count("FAILED") == 1 and "failed rows are tried again" in said


def test_other_data_are_refused(call, repo: Path, tmp_path: Path):
    """Results and begun trainings of one dataset do not serve for another."""
    begun = Settings(repo, "mini", tmp_path / "work_dirs" / "ablations", str(tmp_path / "a"))
    table = TABLES["6"]
    first, second = jobs_of([(table, row) for row in table.rows], [0], begun)
    first.begin()
    write_json(
        second.folder / "result.json",
        {"metrics": {}, "seconds": 1.0, "config": "c.py", **second.conditions},
    )
    assert f"--data-root {tmp_path}/a" in call("run", "6", "--data-root", "a", "--dry-run")
    for row in ("roialign", "roipool"):
        for more in ((), ("--data-root", "b")):
            with pytest.raises(
                UserError, match=rf"started with --data-root {tmp_path}/a, but this"
            ):
                call("run", "6", "--rows", row, "--dry-run", *more)


def test_default_data_by_their_name(call, repo: Path, tmp_path: Path):
    """Naming the folder that is the default changes nothing, and a moved checkout neither."""
    settings = Settings(repo, "mini", tmp_path / "work_dirs" / "ablations")
    for job in jobs_of([(TABLES["6"], row) for row in TABLES["6"].rows], [0], settings):
        job.begin()
    expected = f"--data-root {tmp_path}/data/shapes"
    for more in ((), ("--data-root", "data/shapes")):
        assert call("run", "6", "--dry-run", *more).count(expected) == 4


def test_report(call, finished, tmp_path: Path):
    """Files lie where the last line says; a page gets the table; results can be read back."""
    out = call("report", "6")
    assert "| RoIPool | 2 | 40.5 ± 0.7 (−10.0 ± 0.0) | 59.8 (−4.4) |" in out
    assert all((tmp_path / name).is_file() for name in out.split("written: ")[1].split())
    call("report", "6", "--page", "docs/ablations.md")
    records = json.loads((tmp_path / "docs" / "ablations" / "results.json").read_text())
    assert {tuple(sorted(record)) for record in records} == {
        ("config", "metrics", "row", "scale", "seconds", "seed", "table")
    }
    assert len(records) == 4
    results = str(tmp_path / "docs" / "ablations" / "results.json")
    again = call("report", "6", "--results", results, "--out", "again")
    assert again.split("written")[0] == out.split("written")[0]
    sibling = tmp_path / "docs" / "ablations"
    for name in ("table_6_mini.png", "table_6_mini.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (sibling / name).read_bytes()
    assert not list(sibling.glob("*.md"))  # the page has what they would say


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "2z"), "no table '2z'"),
        (
            ("run", "2c", "--rows", "conv"),
            "--rows conv: there is no such row. Rows are .*RoIPool max",
        ),
        (("run", "2c", "--seeds", "0"), "--seeds must be at least 1, not 0"),
        (("run", "2c", "--gpus", "2"), "--gpus does nothing without --launcher"),
        (("report", "2c"), "no results of 2c at --scale mini in work_dirs/ablations"),
        (("report", "2c", "--results", "x.json"), "no results in x.json"),
        (("report", "6", "--out", "a", "--page", "b.md"), "exclude each other"),
    ],
)
def test_refused(ablate, monkeypatch, tmp_path: Path, arguments: tuple, message: str):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ablate.py", *arguments])
    with pytest.raises(UserError, match=message):
        ablate.main()


def test_slots(monkeypatch: pytest.MonkeyPatch):
    """A row a core, or a row for each set of GPUs; ports that do not collide."""
    monkeypatch.setattr(body.torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(body.os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    assert [slot["OMP_NUM_THREADS"] for slot in body.slots(None, 1)] == ["1"] * 4
    assert [slot["OMP_NUM_THREADS"] for slot in body.slots(2, 1)] == ["2"] * 2
    assert len(body.slots(None, 8)) == 1  # processes, which may be more than cores
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(body.torch.cuda, "device_count", lambda: 8)
    found = body.slots(None, 4)
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in found] == ["0,1,2,3", "4,5,6,7"]
    assert len({slot["PORT"] for slot in found}) == 2


def test_slots_are_of_the_visible_gpus(monkeypatch: pytest.MonkeyPatch):
    """CUDA_VISIBLE_DEVICES names them, by number or otherwise; a row has each of its GPUs once."""
    monkeypatch.setattr(body.torch.cuda, "device_count", lambda: 3)

    def given(visible: str, *args) -> list[str]:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        return [slot["CUDA_VISIBLE_DEVICES"] for slot in body.slots(*args)]

    assert given("4,5,7", None, 1) == ["4", "5", "7"]
    assert given("GPU-a, GPU-b, GPU-c", None, 3) == ["GPU-a,GPU-b,GPU-c"]
    assert given("4,5,7", 3, 2) == ["4,5", "7,4", "5,7"]
    with pytest.raises(UserError, match="--gpus 8: this machine has 3"):
        given("4,5,7", None, 8)

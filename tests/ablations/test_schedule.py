"""Runs of a toy table: done once, in parallel, and to the same report after any kill."""

from __future__ import annotations

import io
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import toy_table as toy
from forked import finish, fork

from mmdet_maskr.ablations.jobs import Job, jobs_of
from mmdet_maskr.ablations.progress import Board
from mmdet_maskr.ablations.report import write_report
from mmdet_maskr.ablations.results import records_of
from mmdet_maskr.ablations.schedule import Scheduler
from mmdet_maskr.ablations.tables import Table
from mmdet_maskr.errors import UserError

SEEDS = range(2)
ALL_STEPS = 3 * len(SEEDS) * toy.EPOCHS * toy.STEPS


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return toy.make_repo(tmp_path / "repo", dict(align=1, pool=2, warp=3))


@pytest.fixture
def table() -> Table:
    return toy.make_table(["align", "pool", "warp"])


def jobs(repo: Path, work_dir: Path, table: Table) -> list[Job]:
    return jobs_of([(table, row) for row in table.rows], SEEDS, toy.settings(repo, work_dir))


def run(repo: Path, work_dir: Path, table: Table, stream: io.StringIO | None = None) -> bool:
    board = Board(stream or io.StringIO())
    return Scheduler(jobs(repo, work_dir, table), [{}, {}], board, poll_seconds=0.01).run()


def report(repo: Path, work_dir: Path, table: Table) -> dict[str, bytes]:
    """The report's files by name; results.json without the seconds."""
    out = work_dir.parent / f"{work_dir.name}_report"
    files = write_report([table], "mini", records_of(jobs(repo, work_dir, table)), out)
    content = {file.name: file.read_bytes() for file in files}
    content["results.json"] = repr(toy.without_seconds(out / "results.json")).encode()
    return content


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def alive(pid: int) -> bool:
    """Whether a process runs; not where it is dead and nobody has asked for its exit code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_done_once_and_reported(repo: Path, table: Table, tmp_path: Path):
    """Each row is trained and tested for each seed; a second call does nothing."""
    stream = io.StringIO()
    assert run(repo, tmp_path / "runs", table, stream)
    assert toy.steps_done(tmp_path / "runs") == ALL_STEPS
    assert stream.getvalue().count("done toy: ") == 6
    content = report(repo, tmp_path / "runs", table)
    assert set(content) == {
        "results.json",
        "table_toy_mini.md",
        "table_toy_mini.csv",
        "table_toy_mini.png",
    }
    again = io.StringIO()
    assert run(repo, tmp_path / "runs", table, again)
    assert toy.steps_done(tmp_path / "runs") == ALL_STEPS
    assert "6 of them done already" in again.getvalue()
    (repo / "configs" / "pool.py").write_text(toy.CONFIG.format(gain=9, epochs=toy.EPOCHS))
    assert run(repo, tmp_path / "runs", table)  # another config is another run
    assert toy.steps_done(tmp_path / "runs") == ALL_STEPS * 4 // 3


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment(repo: Path, table: Table, tmp_path: Path, seed: int):
    """kill -9 of the tool at random moments: the same report, and little is done twice."""
    assert run(repo, tmp_path / "undisturbed", table)
    expected = report(repo, tmp_path / "undisturbed", table)
    work_dir = tmp_path / "disturbed"
    draw = random.Random(seed)
    kills = 0
    for _ in range(8):
        child = fork(lambda: run(repo, work_dir, table), tmp_path / "log")
        time.sleep(draw.uniform(0.02, 0.35))
        os.kill(child, signal.SIGKILL)
        kills += finish(child) == -signal.SIGKILL
        wait_for(lambda: not any(map(alive, toy.trainers(work_dir))))
    assert kills >= 3
    assert run(repo, work_dir, table)
    assert report(repo, work_dir, table) == expected
    # two rows at a time lose the steps since their last checkpoint, an epoch at most
    assert toy.steps_done(work_dir) <= ALL_STEPS + kills * 2 * toy.STEPS


def test_kill_ends_training_and_keeps_checkpoints(repo: Path, table: Table, tmp_path: Path):
    """kill -9 of the tool ends its trainings at once; what they had saved is not trained again."""
    work_dir = tmp_path / "runs"

    def kill_when(condition: Callable[[], bool]) -> int:
        child = fork(lambda: run(repo, work_dir, table), tmp_path / "log")
        wait_for(condition)
        os.kill(child, signal.SIGKILL)
        before = toy.steps_done(work_dir)
        finish(child)
        wait_for(lambda: not any(map(alive, toy.trainers(work_dir))))
        assert toy.steps_done(work_dir) < before + 4 * toy.STEPS  # of 8, had they gone on
        return toy.steps_done(work_dir)

    lost = kill_when(lambda: toy.steps_done(work_dir) >= 4)
    kill_when(lambda: any(work_dir.rglob("epoch_3.pth")))
    assert run(repo, work_dir, table)
    assert toy.steps_done(work_dir) - lost < ALL_STEPS + 2 * toy.STEPS


def test_trainer_killed(repo: Path, table: Table, tmp_path: Path):
    """kill -9 of one row's training: others go on, the report says why, the next call fixes it."""
    work_dir = tmp_path / "runs"
    child = fork(lambda: run(repo, work_dir, table), tmp_path / "log")
    wait_for(lambda: toy.steps_done(work_dir) >= 5)
    os.kill(toy.trainers(work_dir).pop(), signal.SIGKILL)
    assert finish(child) == 0
    records = records_of(jobs(repo, work_dir, table))
    failures = [record["failure"] for record in records if "failure" in record]
    assert len(failures) == 1 and "killed by signal 9" in failures[0]
    page = report(repo, work_dir, table)["table_toy_mini.md"].decode()
    assert "failed: killed by signal 9" in page
    assert run(repo, work_dir, table)
    assert all(job.failure is None for job in jobs(repo, work_dir, table))


def test_two_calls_at_once(repo: Path, table: Table, tmp_path: Path):
    """A second call takes other rows and waits for those that the first is at."""
    work_dir = tmp_path / "runs"
    children = [fork(lambda: run(repo, work_dir, table), tmp_path / "log") for _ in range(2)]
    assert [finish(child) for child in children] == [0, 0]
    assert all(job.result is not None for job in jobs(repo, work_dir, table))
    assert toy.steps_done(work_dir) == ALL_STEPS


def test_failing_row(tmp_path: Path):
    """A row whose tool ends with an error says its words; rows that start from it fail too."""
    repo = toy.make_repo(tmp_path / "repo", dict(align=1, bad=-1, warp=3))
    options = dict(warp=dict(mini_weights="bad.py"))
    table = toy.make_table(["align", "bad", "warp"], **options)
    stream = io.StringIO()
    assert not run(repo, tmp_path / "runs", table, stream)
    failures = {
        (job.rows[0][1], job.failure["reason"])
        for job in jobs(repo, tmp_path / "runs", table)
        if job.failure is not None
    }
    assert failures == {
        ("bad", "exit code 2: a gain of -1"),
        ("warp", f"it starts from toy: bad, seed {0}, which failed"),
        ("warp", f"it starts from toy: bad, seed {1}, which failed"),
    }
    assert stream.getvalue().count("FAILED toy: ") == 4
    assert stream.getvalue().count("done toy: ") == 2


def test_first_weights(tmp_path: Path):
    """A row with ``mini_weights`` waits for that run and starts from its last checkpoint."""
    repo = toy.make_repo(tmp_path / "repo", dict(align=1, pool=2, warp=2))
    table = toy.make_table(["align", "pool", "warp"], warp=dict(mini_weights="align.py"))
    assert run(repo, tmp_path / "runs", table)
    found = {record["row"]: record for record in records_of(jobs(repo, tmp_path / "runs", table))}
    assert found["pool"]["metrics"] != found["warp"]["metrics"]
    assert toy.steps_done(tmp_path / "runs") == ALL_STEPS  # align serves both


def test_conditions_are_recorded(repo: Path, table: Table, tmp_path: Path):
    """Data folder and processes: in state.json as soon as training begins, then in the result."""
    settings = replace(toy.settings(repo, tmp_path / "runs"), data_root="/data/a", gpus=2)
    rows = [(table, table.rows[0])]
    (job,) = jobs_of(rows, [0], settings)
    scheduler = Scheduler([job], [{}], Board(io.StringIO()), 0.01)
    seen = []
    scheduler._show = lambda: seen.append(job.state)
    assert scheduler.run()
    assert not seen[0]["trained"]
    for record in (seen[0], job.result):
        assert (record["data_root"], record["gpus"]) == ("/data/a", 2)
    job.check_conditions()
    for key, value, text in (("data_root", None, "without --data-root"), ("gpus", 8, "--gpus 8")):
        (other,) = jobs_of(rows, [0], replace(settings, **{key: value}))
        assert other.folder == job.folder
        with pytest.raises(UserError, match=rf"seed_0 was started with --.*{text}: .*--work-dir"):
            other.check_conditions()


def test_tools_know_the_interpreter(repo: Path, table: Table, tmp_path: Path):
    """Shell scripts among them start it, and not the python of the PATH."""
    own = tmp_path / "own python"
    own.write_text(f'#!/bin/sh\necho "$PYTHON" >>"{tmp_path}/seen"\nexec {sys.executable} "$@"\n')
    own.chmod(0o755)
    settings = replace(toy.settings(repo, tmp_path / "runs"), python=str(own))
    found = jobs_of([(table, table.rows[0])], [0], settings)
    assert Scheduler(found, [{}], Board(io.StringIO()), 0.01).run()
    assert (tmp_path / "seen").read_text().splitlines() == [str(own)] * 2


def test_stop_ends_the_tools(repo: Path, table: Table, tmp_path: Path):
    """SIGTERM or an error in the tool leaves no training behind."""
    scheduler = Scheduler(jobs(repo, tmp_path / "runs", table), [{}], Board(io.StringIO()), 0.01)

    def interrupted(*_: object) -> None:
        if toy.steps_done(tmp_path / "runs") >= 3:
            raise KeyboardInterrupt

    scheduler._show = interrupted
    with pytest.raises(KeyboardInterrupt):
        scheduler.run()
    assert not any(map(alive, toy.trainers(tmp_path / "runs")))

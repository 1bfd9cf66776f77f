"""Runs jobs in parallel. Nothing is lost or done twice, even if processes are killed.

- A job's folder is locked while anything works on it. The lock is a file that the tools inherit
  open, so it is free only when they have ended too, whoever was killed.
- The tools get SIGTERM when this process dies of any signal (Linux), or is stopped, and
  save before they end.
- A second call, in another terminal or on another machine with the same disk, takes other jobs.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmdet_maskr.ablations.jobs import Job
from mmdet_maskr.ablations.progress import Board, duration, failure_reason, read_progress
from mmdet_maskr.engine.child_processes import start_tool
from mmdet_maskr.engine.score_files import remove_score_files
from mmdet_maskr.errors import UserError
from mmdet_maskr.platforms import lock_file

SAVE_SECONDS = 5.0  # how often the time spent is written
POLL_SECONDS = 0.5


class Running:
    """A job at work: train, then test."""

    def __init__(self, job: Job, lock: int, slot: int, env: Mapping[str, str]) -> None:
        self.job = job
        self.slot = slot
        self.env = {**os.environ, **env, "PYTHONUNBUFFERED": "1", "PYTHON": job.settings.python}
        self._lock = lock
        self._counted = time.monotonic()
        self.phase = "test" if job.state["trained"] and job.last_checkpoint.is_file() else "train"
        (job.folder / "failure.json").unlink(missing_ok=True)
        job.begin()
        self._start()

    def _start(self) -> None:
        job = self.job
        command = job.train_command() if self.phase == "train" else job.test_command()
        if self.phase == "test":
            remove_score_files(job.folder / "test")
        # its own file each time: an old log would tell an old progress
        with self.log.open("wb") as log:
            self.process = start_tool(
                command,
                cwd=job.settings.repo,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(self._lock,),
            )

    @property
    def log(self) -> Path:
        """What the tool prints."""
        return self.job.folder / f"{self.phase}.log"

    def poll(self) -> bool:
        """Go on with what there is to do; whether the job has ended."""
        code = self.process.poll()
        self._count(force=code is not None)
        if code is None:
            return False
        if code != 0:
            self.job.fail(self.phase, failure_reason(self.log, code))
            return True
        if self.phase == "train":
            if not self.job.last_checkpoint.is_file():
                self.job.fail("train", f"training ended without {self.job.last_checkpoint}")
                return True
            self.job.add_seconds(0, trained=True)
            self.phase = "test"
            self._start()
            return False
        try:
            self.job.finish()
        except UserError as error:
            self.job.fail("test", str(error))
        return True

    def _count(self, force: bool) -> None:
        now = time.monotonic()
        if force or now - self._counted >= SAVE_SECONDS:
            self.job.add_seconds(now - self._counted)
            self._counted = now

    def progress(self) -> tuple[float, float | None]:
        """Share that is done, and seconds left where they are known."""
        if self.phase == "test":
            return 1.0, None
        found = read_progress(self.log, self.job.cfg.train_cfg.get("max_epochs"))
        return (0.0, None) if found is None else found

    def stop(self) -> None:
        """Ask the tool to save and end."""
        if self.process.poll() is None:
            self.process.terminate()

    def release(self) -> None:
        """Give the folder free."""
        os.close(self._lock)


def try_lock(folder: Path) -> int | None:
    """Lock a job's folder; an open file to be closed in the end, or None where it is locked."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    if not lock_file(lock):
        os.close(lock)
        return None
    return lock


class Scheduler:
    """Runs what is missing of ``jobs``.

    Args:
        jobs: in the order in which they are wanted.
        slots: for each job that may run at the same time, variables of its environment.
        board: shows the progress.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        slots: Sequence[Mapping[str, str]],
        board: Board,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self.jobs = list(jobs)
        self.slots = list(slots)
        self.board = board
        self.poll_seconds = poll_seconds
        self.running: list[Running] = []
        self.pending: list[Job] = []
        self.failed: list[Job] = []
        self._spent: list[float] = []
        self._elsewhere: set[Path] = set()

    def run(self) -> bool:
        """Run to the end; whether all jobs are done.

        A job that fails does not keep others from running.
        """
        self.pending = [job for job in self.jobs if job.result is None]
        self.board.say(
            f"{len(self.jobs)} runs, {len(self.jobs) - len(self.pending)} of them done already; "
            f"{len(self.slots)} at a time"
        )
        try:
            while self.pending or self.running:
                self._start_some()
                time.sleep(self.poll_seconds)
                self._poll()
                self._show()
        except BaseException:
            for running in self.running:
                running.stop()
            for running in self.running:
                running.process.wait()
            raise
        return not self.failed

    def _start_some(self) -> None:
        for job in list(self.pending):
            if job.damage is not None:
                self._ended(job)
                continue
            free = set(range(len(self.slots))) - {running.slot for running in self.running}
            if not free:
                return
            if job.needs is not None and job.needs.result is None:
                if job.needs in self.failed:
                    job.fail("train", f"it starts from {job.needs.title}, which failed")
                    self._ended(job)
                continue
            lock = try_lock(job.folder)
            if lock is None:
                if job.folder not in self._elsewhere:
                    self._elsewhere.add(job.folder)
                    self.board.say(f"     {job.title}: another process is at it")
                continue
            if job.result is not None:  # it was done elsewhere meanwhile
                os.close(lock)
                self._ended(job)
                continue
            slot = min(free)
            self.pending.remove(job)
            self.running.append(Running(job, lock, slot, self.slots[slot]))

    def _poll(self) -> None:
        for running in list(self.running):
            if running.poll():
                running.release()
                self.running.remove(running)
                self._ended(running.job)

    def _ended(self, job: Job) -> None:
        if job in self.pending:
            self.pending.remove(job)
        result, failure = job.result, job.failure
        if result is not None:
            self._spent.append(result["seconds"])
            scores = ", ".join(
                f"{name} {value:.1f}"
                for name, value in result["metrics"].items()
                if name.endswith("_mAP")
            )
            self.board.say(f"done {job.title}: {scores}; {duration(result['seconds'])}")
        else:
            self.failed.append(job)
            reason = failure["reason"] if failure else "it ended without a result"
            self.board.say(f"FAILED {job.title}: {reason}")

    def _show(self) -> None:
        lines, left = {}, []
        for running in self.running:
            share, seconds = running.progress()
            text = "testing" if running.phase == "test" else "starting"
            if running.phase == "train" and seconds is not None:
                text = f"{duration(seconds)} left"
                left.append(seconds)
            lines[running.job.title] = (share, text)
        self.board.show(lines, self._total(left))

    def _total(self, left: Sequence[float]) -> str:
        """A line for what is left in all, as far as it can be told."""
        text = f"{len(self.pending)} more to start"
        typical = self._typical_seconds()
        if typical is not None:
            seconds = (sum(left) + typical * len(self.pending)) / len(self.slots)
            text += f", about {duration(max([seconds, *left]))} in all"
        return text

    def _typical_seconds(self) -> float | None:
        if self._spent:
            return sum(self._spent) / len(self._spent)
        known = [job.state["seconds"] for job in self.jobs if job.result is not None]
        for running in self.running:
            share, seconds = running.progress()
            if seconds is not None and share > 0:
                known.append(seconds / (1 - share) if share < 1 else seconds)
        return sum(known) / len(known) if known else None

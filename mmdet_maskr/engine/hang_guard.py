"""Ends a process whose training hangs, and says where."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
import threading
import time
from typing import TextIO

from mmdet.registry import HOOKS
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner

from mmdet_maskr.engine.timeouts import seconds_of_waiting
from mmdet_maskr.errors import UserError

EXIT_CODE = 124  # of timeout(1)


@HOOKS.register_module()
class HangGuardHook(Hook):
    """Ends the process if no iteration finishes for a while (a deadlock, a dead disk).

    The process prints its rank, the last iteration and where each of its threads stands, and exits
    with code 124; tools/dist_train.sh then restarts the job from the newest checkpoint. Batches of
    validation count as well, the evaluation after them does not: COCO's takes as long as it takes.
    Where training raises and the process lives on (a notebook), DurableRunner closes it.

    On several GPUs or nodes, collective operations end by themselves after
    ``env_cfg.dist_cfg.timeout`` seconds. That has to be longer, as nothing says then where the rank
    stands that the others wait for; and it limits the evaluation, which the first rank does alone.

    Args:
        minutes: time without an iteration after which the process is ended; also has to suffice
            for the start of the data workers and for writing a checkpoint.

    Raises:
        UserError: ``minutes`` is not positive.
    """

    def __init__(self, minutes: float = 30.0) -> None:
        if not minutes > 0:
            raise UserError(f"HangGuardHook.minutes must be greater than 0, not {minutes}.")
        self._limit = 60 * minutes
        self._last_sign = time.monotonic()
        self._armed = False
        self._iteration = 0
        self._ended = threading.Event()

    def before_run(self, runner: Runner) -> None:
        if isinstance(runner._train_loop, BaseLoop):  # built: this is a training
            self._compare(runner)
            self._ended.clear()
            self._arm(runner)
            threading.Thread(target=self._watch, name="hang guard", daemon=True).start()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        self._arm(runner)

    def before_val(self, runner: Runner) -> None:
        self._arm(runner)
        self._armed = len(runner.val_dataloader) > 0

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self._arm(runner)
        self._armed = batch_idx + 1 < len(runner.val_dataloader)  # the evaluation comes next

    def after_val(self, runner: Runner) -> None:
        self._arm(runner)

    def after_train(self, runner: Runner) -> None:
        self.close()

    def close(self) -> None:
        """Watch no more."""
        self._armed = False
        self._ended.set()

    def _compare(self, runner: Runner) -> None:
        timeout = seconds_of_waiting(runner.cfg)
        if get_world_size() > 1 and timeout <= self._limit:
            runner.logger.warning(
                f"ranks wait for each other for {timeout:g} s (env_cfg.dist_cfg.timeout), which is "
                f"not longer than HangGuardHook.minutes={self._limit / 60:g}: of a rank that "
                "hangs, nothing may say where. Set a longer timeout."
            )

    def _arm(self, runner: Runner) -> None:
        self._last_sign, self._iteration = time.monotonic(), runner.iter
        self._armed = True

    def _watch(self) -> None:
        pause = min(10.0, self._limit / 4)
        file = _error_file()
        while not self._ended.wait(pause):
            if not self._armed:
                faulthandler.cancel_dump_traceback_later()
                continue
            # for hangs in compiled code that keeps Python, this thread included, from running
            if file is not None:
                faulthandler.dump_traceback_later(self._limit + 3 * pause, exit=True, file=file)
            silent = time.monotonic() - self._last_sign
            if silent > self._limit:
                self._end(silent, file)
        faulthandler.cancel_dump_traceback_later()

    def _end(self, silent: float, file: TextIO | None) -> None:
        print(
            f"\nerror: rank {get_rank()} hangs: no progress for {silent:.0f} s, since "
            f"iteration {self._iteration + 1} (HangGuardHook.minutes={self._limit / 60:g}). "
            "The process exits; its threads were at:",
            file=sys.stderr,
            flush=True,
        )
        if file is not None:
            faulthandler.dump_traceback(file, all_threads=True)
        os._exit(EXIT_CODE)


def _error_file() -> TextIO | None:
    """stderr where it has a file descriptor, which a notebook's has not; else the process's."""
    for file in filter(None, (sys.stderr, sys.__stderr__)):
        with contextlib.suppress(OSError, ValueError):
            file.fileno()
            return file
    return None

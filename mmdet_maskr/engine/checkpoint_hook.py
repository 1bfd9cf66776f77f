"""Checkpoints that survive crashes, full disks and preemption."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmdet.registry import HOOKS
from mmengine.dist import (
    all_gather_object,
    broadcast_object_list,
    get_rank,
    get_world_size,
    is_main_process,
)
from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.hooks import CheckpointHook, EMAHook
from mmengine.runner import BaseLoop, Runner
from torch.distributed import ProcessGroup

from mmdet_maskr.atomic_files import write_whole
from mmdet_maskr.checksums import checksum_file
from mmdet_maskr.engine import rank_files, resume, run_state
from mmdet_maskr.engine.durable_files import (
    LAST_CHECKPOINT,
    add_checksum,
    remove_partial_files,
)
from mmdet_maskr.engine.signals import StopRequest
from mmdet_maskr.engine.timeouts import seconds_of_waiting
from mmdet_maskr.engine.unwrap import unwrapped
from mmdet_maskr.engine.work_dir_lock import WorkDirLock
from mmdet_maskr.errors import UserError

INTERRUPTED = "interrupted_iter_{}.pth"


@HOOKS.register_module()
class DurableCheckpointHook(CheckpointHook):
    """mmengine's CheckpointHook, so that at no moment a crash can cost what was saved before.

    Takes CheckpointHook's options. In a local folder a checkpoint is written to a temporary file,
    flushed, renamed, and gets a checksum; ``last_checkpoint`` follows, and only then are those
    beyond ``max_keep_ckpts`` removed. Each holds what an exact resume needs
    (:mod:`mmdet_maskr.engine.resume`).

    On SIGTERM or SIGINT to any process all of them finish their iteration, save once as
    ``interrupted_iter_N.pth`` (removed after the next regular checkpoint) and leave with exit code
    128 + signal, and so do their launchers (tools/dist_train.py), on all nodes. A second signal
    ends the process at once, but within some seconds it is an echo.

    No other training runs in the same work dir meanwhile.

    Raises:
        UserError: a checkpoint could not be written (names the reason and what is intact); another
            training is at work in the work dir.
    """

    backend_args: dict | None
    _state: dict | None = None
    _resumed: dict | None = None
    _stop: StopRequest | None = None
    _lock: WorkDirLock | None = None
    _start: dict[str, dict]
    _validated_at = -1
    _validating = False
    _saved_at = -1

    def before_run(self, runner: Runner) -> None:
        """Keep other trainings out of the work dir."""
        if isinstance(runner._train_loop, BaseLoop):  # built: this is a training
            failure: list = [None]
            if is_main_process():
                try:
                    self._lock = WorkDirLock(Path(runner.work_dir), runner.logger)
                except UserError as error:
                    failure = [str(error)]
            broadcast_object_list(failure)
            if failure[0] is not None:
                raise UserError(failure[0])

    def before_train(self, runner: Runner) -> None:
        """Choose the file backend, restore the state of a resumed run, watch for signals."""
        folder = self.out_dir or runner.work_dir
        if self.backend_args is None and self.file_client_args is None:
            if type(get_file_backend(folder)) is LocalBackend:
                self.backend_args = dict(backend="durable")
        super().before_train(runner)
        if self._is_local():
            self._keep_to_own_folder()
            if is_main_process():
                remove_partial_files(Path(self.out_dir))
                rank_files.remove_orphans(Path(self.out_dir))
        self._stop = StopRequest(runner.logger, seconds_of_waiting(runner.cfg))
        run_state.check_hooks(runner.hooks)
        self._start = run_state.snapshot(unwrapped(runner), runner.hooks)
        if self._resumed is not None:
            state, self._resumed = self._resumed, None
            resume.restore(runner, state)
            if is_main_process() and self._is_local():
                self._go_on_from(runner)
            if not state["validated"] and resume.is_validation_due(runner):
                runner.logger.info(
                    "running the validation that was due when the run was interrupted"
                )
                self._validate(runner)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep the stored state for :meth:`before_train`, if the run is resumed."""
        state = checkpoint.pop(resume.KEY, None)
        if runner._resume and not {"epoch", "iter"} <= set(checkpoint.get("meta", {})):
            raise UserError(
                f"cannot resume from {runner._load_from}: it has weights, but no epoch and "
                "iteration. To start a new run from these weights, set load_from to it."
            )
        if runner._resume:
            self._resumed = state
            if state is None:
                runner.logger.warning(
                    "the checkpoint has no random states (DurableCheckpointHook saves them): the "
                    "resumed run will not equal an uninterrupted one."
                )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the state that all ranks have gathered."""
        removed = resume.remove_functions(checkpoint)
        if removed:
            runner.logger.warning(
                f"{', '.join(removed)} cannot be stored in the checkpoint, because reading it "
                "would run code; it is left out. Store numbers, strings and tensors only."
            )
        if self._state is not None:
            checkpoint[resume.KEY] = self._state

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Save at the end of an interval, or if a signal wants the run to end."""
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        if self._stop is not None and self._stop.is_agreed():
            self._leave(runner, self._stop, dict(epoch=runner.epoch, iter=runner.iter + 1))

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: Sequence | None = None,
    ) -> None:
        """Leave a validation within training if a signal wants it.

        Several processes go on to the next training iteration: they may differ in their number of
        validation batches, and so cannot agree here.
        """
        if self._stop is None or not self._stop.is_wanted_here():
            return
        self._take_out_averaged_weights(runner)
        self._leave(runner, self._stop, dict(epoch=runner.epoch, iter=runner.iter))

    def before_val_epoch(self, runner: Runner) -> None:
        """From here on the averaged weights are in the model's place."""
        self._validating = True

    def _take_out_averaged_weights(self, runner: Runner) -> None:
        for hook in runner.hooks:
            if isinstance(hook, EMAHook) and self._validating:
                hook._swap_ema_parameters()
        self._validating = False

    def _validate(self, runner: Runner) -> None:
        """Make up for a validation; one that cannot be made does not keep a run from going on.

        Several processes cannot leave it out: some of them would wait for the others' results.
        """
        try:
            runner.val_loop.run()
        except UserError as error:
            if get_world_size() > 1:
                raise
            self._take_out_averaged_weights(runner)
            for metric in runner.val_loop.evaluator.metrics:
                metric.results.clear()
            runner.logger.error(
                f"{error} This validation is skipped. Fix the error, or the next validation will "
                "stop the run."
            )

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Save the best checkpoint; the one before it is removed only afterwards."""
        self._validating = False
        self._validated_at = runner.iter
        super().after_val_epoch(runner, metrics)

    def after_train(self, runner: Runner) -> None:
        super().after_train(runner)
        self.close()

    def close(self) -> None:
        """Watch for signals no more, and let others use the work dir."""
        if self._stop is not None:
            self._stop.close()
        if self._lock is not None:
            self._lock.close()
        self._stop = self._lock = None

    def _leave(self, runner: Runner, stop: StopRequest, meta: dict) -> None:
        if self._saved_at != meta["iter"]:
            name = INTERRUPTED.format(meta["iter"])
            self._write(runner, name, meta, by_epoch=False)
            self._point_to(runner, name)
            saved = name
        else:
            saved = Path(self.last_ckpt).name
        signal_name, code = stop.describe()
        runner.logger.warning(
            f"{signal_name}: saved {saved} after iteration {meta['iter']} and exiting; the "
            "same command with --resume continues."
        )
        stop.leave()
        raise SystemExit(code)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        """Save, then point to the file, then remove those beyond ``max_keep_ckpts``.

        mmengine removes first: with ``max_keep_ckpts=1``, a crash would leave nothing.
        """
        if not self._is_local():
            gradients = resume.held_gradients(runner)
            self._state = self._capture(runner, meta, dict(gradients=gradients))
            super()._save_checkpoint_with_step(runner, step, meta)
            self._state = None
            return
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info("last_ckpt", self.last_ckpt)
        if self.max_keep_ckpts > 0:
            if step not in self.keep_ckpt_ids:
                self.keep_ckpt_ids.append(step)  # its maxlen drops the oldest
            runner.message_hub.update_info("keep_ckpt_ids", list(self.keep_ckpt_ids))
        self._write(runner, name, meta, self.by_epoch)
        self._point_to(runner, name)
        self._saved_at = meta["iter"]
        if is_main_process():
            self._remove_outdated(meta["iter"] + 1)

    def _write(self, runner: Runner, name: str, meta: dict, by_epoch: bool) -> None:
        """Write one checkpoint on the first rank; all ranks learn whether it worked."""
        gradients = self._keep_gradients(runner, name)
        self._state = self._capture(runner, meta, gradients)
        failure: list = [None]
        try:
            runner.save_checkpoint(
                self.out_dir,
                name,
                self.file_client_args,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=by_epoch,
                backend_args=self.backend_args,
                **self.args,
            )
        except OSError as error:
            failure = [self._failure(runner.work_dir, name, error)]
        finally:
            self._state = None
        broadcast_object_list(failure)
        if failure[0] is not None:
            raise UserError(failure[0])

    def _keep_gradients(self, runner: Runner, name: str) -> dict[str, Any]:
        """What the checkpoint has of gradients; of several ranks, each writes its own."""
        gradients = resume.held_gradients(runner)
        if get_world_size() == 1:
            return dict(gradients=gradients) if gradients else {}
        mark, failure = None, None
        try:
            if gradients:
                mark = rank_files.write(Path(self.out_dir) / name, get_rank(), gradients)
        except OSError as error:
            failure = self._failure(runner.work_dir, name, error)
        failures: list[str | None] = all_gather_object(failure, self._group())
        for failure in filter(None, failures):
            raise UserError(failure)
        return dict(gradients_mark=mark) if gradients else {}

    def _group(self) -> ProcessGroup | None:
        """All ranks, on CPUs."""
        return None if self._stop is None else self._stop.group

    def _capture(self, runner: Runner, meta: dict, gradients: dict[str, Any]) -> dict:
        finished_epoch = meta["epoch"] > runner.epoch  # counted up after the epoch's last hook
        validated = self._validated_at == meta["iter"]
        return resume.capture(
            runner, finished_epoch, validated, self._start, gradients, self._group()
        )

    def _failure(self, work_dir: str, name: str, error: OSError) -> str:
        pointer = Path(work_dir) / LAST_CHECKPOINT
        kept = [file.name for file in sorted(Path(self.out_dir).glob("*.pth"))]
        last = ""
        if pointer.is_file():
            last = f", the last is {os.path.basename(os.fsdecode(pointer.read_bytes()))}"
        intact = f"intact are {', '.join(kept)}{last}" if kept else "it would have been the first"
        return (
            f"checkpoint {name} could not be written to {self.out_dir}: "
            f"{error.strerror or error} ({intact}). Fix this, then continue with the same "
            "command and --resume."
        )

    def _point_to(self, runner: Runner, name: str) -> None:
        if is_main_process():
            path = str(self.file_backend.join_path(self.out_dir, name))
            if self._is_local():
                path = os.path.abspath(path)
            pointer = Path(runner.work_dir) / LAST_CHECKPOINT
            _or_told(pointer, lambda: write_whole(pointer, os.fsencode(path)))

    def _is_local(self) -> bool:
        return isinstance(self.file_backend, LocalBackend)

    def _go_on_from(self, runner: Runner) -> None:
        """Finish what a crash has kept the run from doing with the checkpoint it goes on from."""
        loaded = Path(str(runner._load_from)).expanduser()
        if loaded.is_file() and loaded.resolve().parent == Path(self.out_dir).resolve():
            _or_told(checksum_file(loaded), lambda: add_checksum(loaded))
            self._point_to(runner, loaded.name)
            self._remove_outdated(runner.iter + 1, keep=loaded.name)
        else:
            self._remove_outdated(runner.iter)

    def _remove_outdated(self, iteration: int, keep: str | None = None) -> None:
        """Remove what ``max_keep_ckpts`` and a checkpoint of ``iteration`` make superfluous.

        Found by their names: a run that was killed before it could remove a file has forgotten it.
        """
        outdated = _numbered(Path(self.out_dir), INTERRUPTED, iteration)
        if self.max_keep_ckpts > 0 and self.keep_ckpt_ids:
            kept = [self.filename_tmpl.format(number) for number in self.keep_ckpt_ids]
            older = _numbered(Path(self.out_dir), self.filename_tmpl, max(self.keep_ckpt_ids))
            outdated += [path for path in older if path.name not in kept]
        for path in outdated:
            if path.name != keep:
                self.file_backend.remove(path)
                rank_files.remove(path)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        """As mmengine's, but the best one so far is removed after the new one is there."""
        if not self.save_best:
            return
        single = len(self.key_indicators) == 1
        before = {None: self.best_ckpt_path} if single else dict(self.best_ckpt_path_dict)
        self._set_best(dict.fromkeys(before), single)
        try:
            super()._save_best_checkpoint(runner, metrics)
        except OSError as error:
            raise UserError(self._failure(runner.work_dir, "with the best score", error)) from error
        finally:
            after = {None: self.best_ckpt_path} if single else dict(self.best_ckpt_path_dict)
            self._set_best({key: after[key] or before[key] for key in before}, single)
        for key, path in before.items():
            if path and after[key] not in (None, path) and is_main_process():
                if self.file_backend.isfile(path):
                    self.file_backend.remove(path)
                    runner.logger.info(f"The previous best checkpoint {path} is removed")

    def _keep_to_own_folder(self) -> None:
        """Look for best checkpoints here, also where the run was resumed in a copied work dir.

        A checkpoint has the paths that it was saved with, and the best one is replaced by a better.
        """
        if not self.save_best:
            return
        single = len(self.key_indicators) == 1
        before = {None: self.best_ckpt_path} if single else dict(self.best_ckpt_path_dict)
        here = {
            key: path and os.path.join(self.out_dir, os.path.basename(path))
            for key, path in before.items()
        }
        self._set_best(here, single)

    def _set_best(self, paths: dict, single: bool) -> None:
        if single:
            self.best_ckpt_path = paths[None]
        else:
            self.best_ckpt_path_dict = paths


def _or_told(path: Path, write: Callable[[], None]) -> None:
    try:
        write()
    except OSError as error:
        raise UserError(
            f"{path} cannot be written: {error.strerror or error}. Fix this, then continue "
            "with the same command and --resume."
        ) from error


def _numbered(folder: Path, template: str, below: int) -> list[Path]:
    """Files of a folder that are named as ``template`` with a number smaller than ``below``."""
    name = re.compile(re.escape(template).replace(r"\{\}", r"(\d+)"))
    found = [(path, name.fullmatch(path.name)) for path in folder.iterdir()]
    return [path for path, match in found if match and int(match[1]) < below]

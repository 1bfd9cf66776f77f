"""Keeps losses that are not finite away from the weights, and stops the run."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from mmdet.registry import HOOKS
from mmengine.dist import all_gather_object, all_reduce, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner

from mmdet_maskr.atomic_files import write_whole
from mmdet_maskr.cli.spelling import call
from mmdet_maskr.engine import resume
from mmdet_maskr.engine.batch_file import is_batch_of_detector, pack_batch
from mmdet_maskr.engine.optimizers import optim_wrappers
from mmdet_maskr.engine.step_reading import StepReading
from mmdet_maskr.engine.unwrap import unwrapped, without_wrappers
from mmdet_maskr.engine.zero_losses import ZeroLosses
from mmdet_maskr.errors import UserError

KEPT = 3  # each file has the model's weights


@HOOKS.register_module()
class LossGuardHook(Hook):
    """Leaves out the optimizer's step for a loss that is NaN or infinite on any rank.

    Warns of parts of the loss that are exactly 0 from the first iteration on.

    The first of such iterations in a row is saved with all that its replay needs, as
    ``bad_batch_iter_N_rank_R.pth`` in the work dir (for ``maskr replay``), if it is a
    list of images and mmdet's samples; the files of the last :data:`KEPT` rows are kept. How many
    there were so far is logged as ``skipped_steps``.

    Args:
        stop_after: so many in a row stop the run; 1 stops at the first, any larger number skips
            single ones.

    Raises:
        UserError: when it stops the run, with the iteration, the parts of the loss and the images.
    """

    priority = "VERY_HIGH"

    def __init__(self, stop_after: int = 1) -> None:
        if not (isinstance(stop_after, int) and stop_after >= 1):
            raise UserError(
                f"LossGuardHook.stop_after must be a whole number from 1, not {stop_after}."
            )
        self.stop_after = stop_after
        self._in_row = 0
        self._skipped = 0
        self._is_bad = False
        self._random: dict[str, Any] = {}
        self._zero = ZeroLosses()
        self._files: list[str] = []

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run has to know: how many in a row there were, and which files."""
        return dict(in_row=self._in_row, files=list(self._files))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on counting."""
        self._in_row, self._files = state["in_row"], list(state["files"])

    def before_train(self, runner: Runner) -> None:
        """Look at each loss before the optimizer does."""
        self._skipped = int(runner.message_hub.runtime_info.get("skipped_steps", 0))
        for wrapper in optim_wrappers(runner.optim_wrapper).values():
            self.guard(runner.model, wrapper)

    def guard(self, model: torch.nn.Module, wrapper: OptimWrapper) -> None:
        """Let ``wrapper.update_params`` leave out losses of ``model`` that are not finite.

        On a GPU the losses for the log and the checks of the model's RoIs and labels are read
        together with that, so that the host waits once.

        Raises:
            UserError: in the step, before the weights change, where a check failed.
        """
        reading = StepReading(without_wrappers(model), wrapper)
        update = wrapper.update_params

        def guarded_update(loss: torch.Tensor, *args, **kwargs) -> None:
            if reading.is_bad_anywhere(loss):
                self._is_bad = True
                _count_without_step(wrapper)
            else:
                update(loss, *args, **kwargs)

        # an attribute of the object, so that it works for each kind of OptimWrapper
        wrapper.update_params = guarded_update

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        self._is_bad = False
        self._random = resume.random_states()  # for the replay

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Count, save the first of a row, stop after too many; look for losses of 0."""
        if not self._zero.done:
            _warn(runner, self._zero.add(_as_numbers(outputs)))
        if not self._is_bad:
            self._in_row = 0
            return
        self._in_row += 1
        self._skipped += 1
        runner.message_hub.update_info("skipped_steps", self._skipped)
        runner.message_hub.update_scalar("train/skipped_steps", self._skipped)
        parts = _as_numbers(outputs)
        batch = data_batch if is_batch_of_detector(data_batch) else None
        ids = None if batch is None else [s.get("img_id") for s in batch["data_samples"]]
        if self._in_row == 1 and batch is not None:
            self._save(runner, batch, parts)
        found = all_gather_object(
            f"rank {get_rank()}: {'' if ids is None else f'images {ids}, '}"
            + ", ".join(f"{name} {value:g}" for name, value in parts.items())
        )
        message = f"the loss of iteration {runner.iter + 1} is not finite ({'; '.join(found)})"
        if self._in_row < self.stop_after:
            runner.logger.warning(f"{message}: step skipped, {self._skipped} so far.")
            return
        saved = (
            f"The batch is in {self._path(runner, self._in_row)}: see {call('replay --help')}."
            if batch is not None
            else "The batch is not saved: it is not of mmdet's samples."
        )
        raise UserError(
            f"{message}, {self._in_row} in a row. The weights were not updated. {saved} To "
            f"skip single steps, raise LossGuardHook.stop_after, which is {self.stop_after}."
        )

    def after_train_epoch(self, runner: Runner) -> None:
        """A short epoch is long enough to tell that a loss is always 0."""
        _warn(runner, self._zero.report())

    def after_train(self, runner: Runner) -> None:
        """So is a short training by iterations."""
        _warn(runner, self._zero.report())

    def _path(self, runner: Runner, in_row: int) -> Path:
        first = runner.iter + 2 - in_row
        return Path(runner.work_dir) / f"bad_batch_iter_{first}_rank_{get_rank()}.pth"

    def _save(self, runner: Runner, data_batch: dict, parts: dict[str, float]) -> None:
        model = unwrapped(runner)
        content = dict(
            iteration=runner.iter + 1,
            losses=parts,
            random=self._random,
            state_dict=model.state_dict(),
            **pack_batch(data_batch),
        )
        with io.BytesIO() as buffer:
            torch.save(content, buffer)
            write_whole(self._path(runner, 1), buffer.getvalue())
        name = self._path(runner, 1).name
        self._files = [file for file in self._files if file != name] + [name]
        for outdated in self._files[:-KEPT]:
            (Path(runner.work_dir) / outdated).unlink(missing_ok=True)
        self._files = self._files[-KEPT:]


def _as_numbers(parts: dict[str, Any] | None) -> dict[str, float]:
    return {name: float(torch.as_tensor(value).detach()) for name, value in (parts or {}).items()}


def _warn(runner: Runner, text: str | None) -> None:
    if text is not None:
        runner.logger.warning(text)


def _count_without_step(wrapper: OptimWrapper) -> None:
    """What ``update_params`` does besides the backward pass."""
    wrapper._inner_count += 1
    if wrapper._accumulative_counts > 1 and wrapper.should_update():
        parameters = [p for group in wrapper.param_groups for p in group["params"]]
        _average_gradients([p for p in parameters if p.requires_grad])
        # without any (each loss of an accumulation was bad) torch's GradScaler refuses to step
        if any(parameter.grad is not None for parameter in parameters):
            wrapper.step()
            wrapper.zero_grad()


def _average_gradients(parameters: list[torch.nn.Parameter]) -> None:
    """Average over the ranks what each has accumulated alone, as the left-out pass would have."""
    if get_world_size() == 1 or not parameters:
        return
    has_gradient = torch.tensor([p.grad is not None for p in parameters]).to(parameters[0].device)
    anywhere = has_gradient.to(torch.float32)
    all_reduce(anywhere, op="max")
    for parameter, wanted in zip(parameters, anywhere.tolist(), strict=True):
        if wanted:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            all_reduce(parameter.grad, op="mean")

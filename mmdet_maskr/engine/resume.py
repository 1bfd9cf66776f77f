"""The state beyond mmengine's checkpoint that makes a resumed run equal an uninterrupted one.

mmengine stores weights, optimizer, schedules and message hub. Added here, under ``exact_resume``
and in plain tensors and numbers: each rank's random states and buffers, gradients that are being
accumulated (of several ranks: :mod:`.rank_files`), the position in the epoch, the sampler's seed,
what hooks and parts of the model remember (:mod:`.run_state`), and the settings of the schedules
(:mod:`.schedule_changes`).
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, gather_object, get_rank, get_world_size
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch import Tensor
from torch.distributed import ProcessGroup

from mmdet_maskr.engine import rank_files, run_state
from mmdet_maskr.engine.exact_loading import ExactDataLoader
from mmdet_maskr.engine.loops import ExactEpochs
from mmdet_maskr.engine.optimizers import optim_wrappers
from mmdet_maskr.engine.unwrap import unwrapped
from mmdet_maskr.errors import UserError

KEY = "exact_resume"


def random_states() -> dict[str, Any]:
    """States of this process's generators, as tensors, numbers and tuples of numbers."""
    state: tuple = np.random.get_state(legacy=True)  # type: ignore[assignment]
    name, words, position, has_gauss, gauss = state
    states: dict[str, Any] = dict(
        python=random.getstate(),
        numpy=(name, torch.from_numpy(words.astype(np.int64)), position, has_gauss, gauss),
        torch=torch.get_rng_state(),
    )
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def restore_random_states(states: dict[str, Any]) -> None:
    """The inverse of :func:`random_states`."""
    random.setstate(states["python"])
    name, words, *rest = states["numpy"]
    np.random.set_state((name, words.cpu().numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"].cpu())
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"].cpu())


def held_gradients(runner: Runner) -> dict[str, Tensor]:
    """This rank's gradients that the next step needs, on the CPU; none where it makes them anew."""
    wrappers = optim_wrappers(runner.optim_wrapper)
    # with several, one's loss may leave gradients to the others
    if len(wrappers) == 1 and not any(map(_is_accumulating, wrappers.values())):
        return {}
    return {
        name: parameter.grad.cpu()
        for name, parameter in unwrapped(runner).named_parameters()
        if parameter.grad is not None
    }


def capture(
    runner: Runner,
    finished_epoch: bool,
    validated: bool,
    start: dict[str, dict],
    gradients: dict[str, Any],
    group: ProcessGroup | None = None,
) -> dict[str, Any]:
    """State of the run to be stored in a checkpoint; to be called on all ranks at once.

    Only the first rank, which writes it, gets what the others have; it passes through ``group``.

    Args:
        runner: in its training loop, after the optimizer's step.
        finished_epoch: whether the checkpoint is of the end of an epoch.
        validated: whether the validation that is due at this point is done.
        start: :func:`.run_state.snapshot` of the run as it was built.
        gradients: :func:`held_gradients` as ``gradients``, or where they are kept as
            ``gradients_mark`` of :func:`.rank_files.write`; empty where there are none.
        group: of all ranks, on CPUs, where there are several.
    """
    model = unwrapped(runner)
    own: dict[str, Any] = dict(random=random_states(), launch=launch(), **gradients)
    own["attributes"] = run_state.capture(model, runner.hooks, start)
    if get_world_size() > 1:  # statistics of batch norm differ between the ranks
        own["buffers"] = {name: buffer.cpu() for name, buffer in model.named_buffers()}
    wrappers = optim_wrappers(runner.optim_wrapper)
    own["counts"] = {name: getattr(w, "_inner_count", 0) for name, w in wrappers.items() if name}
    loader = runner.train_loop.dataloader
    return dict(
        ranks=gather_object(own, 0, group) or [],
        position=0 if finished_epoch else getattr(runner.train_loop, "position", 0),
        batches=len(loader),
        batch_size=getattr(loader.batch_sampler, "batch_size", 0),
        sampler_seed=getattr(_sampler(loader), "seed", None),
        batch_seed=loader.batches.seed if isinstance(loader, ExactDataLoader) else None,
        validated=validated,
        settings=getattr(getattr(runner, "settings", None), "content", None),
    )


def restore(runner: Runner, state: dict[str, Any]) -> None:
    """Give a run that has loaded a checkpoint the state that :func:`capture` stored in it."""
    ranks, rank = state["ranks"], get_rank()
    own = ranks[rank if len(ranks) == get_world_size() else 0]
    model = unwrapped(runner)
    _restore_attributes(runner, own.get("attributes", {}))
    loader = runner.train_loop.dataloader
    if not isinstance(loader, ExactDataLoader):
        runner.logger.warning(
            "the data loader was not built by DurableRunner "
            "(runner_type='mmdet.DurableRunner'): the resumed run will see other batches "
            "than an uninterrupted one."
        )
        return
    if state["sampler_seed"] is not None:
        _sampler(loader).seed = state["sampler_seed"]
    if state["batch_seed"] is not None:
        loader.batches.seed = state["batch_seed"]
    loader.passing = _batches_to_pass(runner, state)
    if isinstance(runner.train_loop, ExactEpochs):
        runner.train_loop.go_on_at(loader.passing)
    if len(ranks) != get_world_size():
        runner.logger.warning(
            f"the checkpoint is from a run with {len(ranks)} processes, and this run has "
            f"{get_world_size()}: it continues, but not exactly as an uninterrupted run "
            "would."
        )
        return
    for name, wrapper in optim_wrappers(runner.optim_wrapper).items():
        if name in own.get("counts", {}):  # mmengine sets that of a single one alone
            wrapper._inner_count = own["counts"][name]
    buffers = dict(model.named_buffers())
    for name, value in own.get("buffers", {}).items():
        buffers[name].copy_(value)
    gradients = _gradients_of(runner, ranks)
    for name, parameter in model.named_parameters():
        if name in gradients:
            parameter.grad = gradients[name].to(parameter.device)
    restore_random_states(own["random"])


def _gradients_of(runner: Runner, ranks: list[dict[str, Any]]) -> dict[str, Tensor]:
    """This rank's accumulated gradients; rank 0 logs which ranks have lost theirs."""
    rank = get_rank()
    if not any("gradients_mark" in own for own in ranks):
        return ranks[rank].get("gradients", {})
    found: dict[str, Tensor] = {}
    trouble = None
    try:
        if "gradients_mark" in ranks[rank]:
            checkpoint = Path(str(runner._load_from)).expanduser()
            found = rank_files.read(checkpoint, rank, ranks[rank]["gradients_mark"])
    except UserError as error:
        trouble = str(error)
    troubles: list[str | None] = all_gather_object(trouble)
    lost = " ".join(filter(None, troubles))
    if lost:
        runner.logger.warning(
            f"gradients that were being accumulated are lost: {lost} The next step is smaller than "
            "that of an uninterrupted run."
        )
    return found


def _restore_attributes(runner: Runner, states: dict[str, dict]) -> None:
    inexact, told = run_state.restore(unwrapped(runner), runner.hooks, states)
    if told:
        runner.logger.info(
            f"restored attributes of hooks: {'; '.join(told)}. If a hook has attributes that "
            "must not be set from outside, give it state_dict and load_state_dict."
        )
    if inexact:
        runner.logger.warning(
            f"the state that {', '.join(inexact)} kept from earlier iterations is not in the "
            "checkpoint: the resumed run may differ from an uninterrupted one."
        )


def remove_functions(checkpoint: dict) -> list[str]:
    """Take what could not be read again out of a checkpoint that is about to be saved.

    Functions in the schedulers' states (OneCycleLR's) come from the config. Anything else that is
    no data would let the file be refused.

    Returns:
        Keys of what is taken out besides the schedulers' functions.
    """
    schedulers = checkpoint.get("param_schedulers") or []
    lists = schedulers.values() if isinstance(schedulers, dict) else [schedulers]
    for state in (state for states in lists for state in states):
        for key in [key for key, value in state.items() if callable(value)]:
            del state[key]
    removed = []
    for part in ("meta", "message_hub"):
        for name, values in _groups_of(checkpoint.get(part), part):
            for key in [k for k, value in values.items() if not run_state.is_data(value)]:
                del values[key]
                removed.append(f"{name}.{key}")
    return removed


def _groups_of(values: Any, name: str) -> Iterator[tuple[str, dict]]:
    """A dictionary and those in it, the innermost first."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield from _groups_of(value, f"{name}.{key}")
        yield name, values


def launch() -> str | None:
    """What tools/dist_train.sh calls its present call, the same over restarts; None without it."""
    return os.environ.get("MMDET_MASKR_LAUNCH")


def launches_of(checkpoint: dict) -> set[str]:
    """The calls of tools/dist_train.sh, one on each node, that a checkpoint was saved by."""
    ranks = (checkpoint.get(KEY) or {}).get("ranks", ())
    return {own["launch"] for own in ranks if own.get("launch") is not None}


def is_validation_due(runner: Runner) -> bool:
    """Whether the loop would validate at the point where a checkpoint was saved."""
    loop = runner.train_loop
    if runner.val_loop is None:
        return False
    if isinstance(loop, EpochBasedTrainLoop):
        done, last = loop.epoch, loop.epoch == loop.max_epochs
        if loop.dataloader.passing:
            return False
    elif not isinstance(loop, IterBasedTrainLoop):
        return False
    else:
        done, last = loop.iter, loop.iter == loop.max_iters
    loop._decide_current_val_interval()
    return done > 0 and done >= loop.val_begin and (done % loop.val_interval == 0 or last)


def _batches_to_pass(runner: Runner, state: dict[str, Any]) -> int:
    """Batches that the loader is to give without loading them."""
    loop: Any = runner.train_loop
    if isinstance(loop, IterBasedTrainLoop):
        return loop.iter  # it asks for each once more
    if not isinstance(loop, ExactEpochs):
        runner.logger.warning(
            f"{type(loop).__name__} is neither epoch-based nor iteration-based: the resumed "
            "run will see other batches than an uninterrupted one."
        )
        return 0
    position, batches = state["position"], len(runner.train_loop.dataloader)
    if batches == state["batches"]:
        return position
    return round(position * batches / max(state["batches"], 1))


def _is_accumulating(wrapper: OptimWrapper) -> bool:
    counts = getattr(wrapper, "_accumulative_counts", 1)
    return counts > 1 and not wrapper.should_update()


def _sampler(loader: ExactDataLoader) -> Any:
    return getattr(loader.batch_sampler, "sampler", loader.sampler)

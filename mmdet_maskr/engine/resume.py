"""What a checkpoint needs beyond mmengine's so that a resumed run equals an undisturbed one.

mmengine stores weights, optimizer, schedules and message hub. Added here, under ``exact_resume``
and in plain tensors and numbers: each rank's random states and buffers, gradients that are being
accumulated, the position in the epoch, and the sampler's seed.
"""

from __future__ import annotations

import os
import random
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner

from mmdet_maskr.engine.exact_loading import ExactDataLoader
from mmdet_maskr.engine.unwrap import unwrapped

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


def capture(runner: Runner, finished_epoch: bool, validated: bool) -> dict[str, Any]:
    """State of the run to be stored in a checkpoint; to be called on all ranks at once.

    Args:
        runner: in its training loop, after the optimizer's step.
        finished_epoch: whether the checkpoint is of the end of an epoch.
        validated: whether the validation that is due at this point is done.
    """
    model = unwrapped(runner)
    own: dict[str, Any] = dict(random=random_states(), launch=launch())
    if get_world_size() > 1:  # statistics of batch norm differ between the ranks
        own["buffers"] = {name: buffer.cpu() for name, buffer in model.named_buffers()}
    if _is_accumulating(runner.optim_wrapper):
        own["gradients"] = {
            name: parameter.grad.cpu()
            for name, parameter in model.named_parameters()
            if parameter.grad is not None
        }
    loader = runner.train_loop.dataloader
    return dict(
        ranks=all_gather_object(own),
        position=0 if finished_epoch else getattr(runner.train_loop, "position", 0),
        batches=len(loader),
        batch_size=getattr(loader.batch_sampler, "batch_size", 0),
        sampler_seed=getattr(_sampler(loader), "seed", None),
        batch_seed=getattr(loader.batch_sampler, "seed", None),
        validated=validated,
    )


def restore(runner: Runner, state: dict[str, Any]) -> None:
    """Give a run that has loaded a checkpoint the state that :func:`capture` stored in it."""
    loader = runner.train_loop.dataloader
    if not isinstance(loader, ExactDataLoader):
        runner.logger.warning(
            "the data loader is not one of DurableRunner's (runner_type='mmdet.DurableRunner'): "
            "the resumed run will see other batches than an undisturbed one."
        )
        return
    if state["sampler_seed"] is not None:
        _sampler(loader).seed = state["sampler_seed"]
    if state["batch_seed"] is not None:
        loader.batch_sampler.seed = state["batch_seed"]
    loader.passing = _batches_to_pass(runner, state)
    if len(state["ranks"]) != get_world_size():
        runner.logger.warning(
            f"the checkpoint is of {len(state['ranks'])} processes and this run has "
            f"{get_world_size()}: it goes on, but not as an undisturbed one would."
        )
        return
    own = state["ranks"][get_rank()]
    model = unwrapped(runner)
    buffers = dict(model.named_buffers())
    for name, value in own.get("buffers", {}).items():
        buffers[name].copy_(value)
    for name, parameter in model.named_parameters():
        if name in own.get("gradients", {}):
            parameter.grad = own["gradients"][name].to(parameter.device)
    restore_random_states(own["random"])


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
    if hasattr(loop, "position"):
        done, last = loop.epoch, loop.epoch == loop.max_epochs
        if loop.dataloader.passing:
            return False
    else:
        done, last = loop.iter, loop.iter == loop.max_iters
    loop._decide_current_val_interval()
    return done > 0 and done >= loop.val_begin and (done % loop.val_interval == 0 or last)


def _batches_to_pass(runner: Runner, state: dict[str, Any]) -> int:
    """Batches that the loader is to give without loading them."""
    if not hasattr(runner.train_loop, "position"):
        return runner.train_loop.iter  # the iteration-based loop asks for each once more
    position, batches = state["position"], len(runner.train_loop.dataloader)
    if batches == state["batches"]:
        return position
    return round(position * batches / max(state["batches"], 1))


def _is_accumulating(wrapper: OptimWrapper) -> bool:
    counts = getattr(wrapper, "_accumulative_counts", 1)
    return counts > 1 and not wrapper.should_update()


def _sampler(loader: ExactDataLoader) -> Any:
    return getattr(loader.batch_sampler, "sampler", loader.sampler)

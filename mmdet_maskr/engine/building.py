"""The Runner of a config, on GPUs or CPUs."""

from __future__ import annotations

import os
from datetime import timedelta

import torch
import torch.distributed
from mmdet.registry import RUNNERS
from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner

from mmdet_maskr.engine.config_checks import check_config
from mmdet_maskr.engine.config_errors import explained
from mmdet_maskr.engine.config_parts import check_parts
from mmdet_maskr.engine.timeouts import seconds_of_waiting
from mmdet_maskr.errors import UserError
from mmdet_maskr.zoo.resolve import is_reference

_BUILT: dict[str | None, tuple[str, ...]] = {None: (), "train": ("train", "val"), "test": ("test",)}


def enable_mixed_precision(cfg: Config) -> None:
    """``--amp``: float16 with loss scaling on a GPU, bfloat16 on a CPU."""
    wrapper = cfg.optim_wrapper
    if torch.cuda.is_available():
        wrapper.type = "AmpOptimWrapper"
        wrapper.setdefault("loss_scale", "dynamic")
    else:
        wrapper.type = "mmdet.BFloat16OptimWrapper"


# What a launcher sets for each process, and how it is started.
_STARTED_WITH = {
    "pytorch": ("RANK", "torchrun (bash tools/dist_train.sh CONFIG PROCESSES)"),
    "slurm": ("SLURM_PROCID", "srun (bash tools/slurm_train.sh)"),
    "mpi": ("OMPI_COMM_WORLD_LOCAL_RANK", "mpirun"),
}


def begin_from(cfg: Config, weights: str) -> None:
    """Begin from a checkpoint; classes of the same name keep their weights, others start anew.

    What does not fit the model, or was trained on other pixels, is refused.

    Args:
        cfg: the config, which is changed.
        weights: file, address or ``pretrained://NAME``.
    """
    cfg.load_from = weights
    hooks = cfg.setdefault("custom_hooks", None) or []
    for wanted in (
        dict(type="mmdet.CheckpointFitHook"),
        dict(type="mmdet.ClassTransferHook", least_shared=0),
    ):
        kind = str(wanted["type"]).removeprefix("mmdet.")
        if not any(str(hook["type"]).endswith(kind) for hook in hooks):
            hooks = [*hooks, wanted]
    cfg.custom_hooks = hooks


def build_runner(cfg: Config, needs: str | None = None) -> Runner:
    """Build the Runner of a config, distributed as ``cfg.launcher`` says, on GPUs or CPUs.

    It is a DurableRunner where the config names no other ``runner_type``.

    Without a GPU the process group is made here, with gloo: mmengine's own ``init_dist`` selects a
    CUDA device first and fails.

    Args:
        cfg: the config.
        needs: 'train' or 'test', what the Runner is for.

    Raises:
        UserError: a launcher that has not started this process, or other than pytorch on a
            machine without GPUs; what
            :func:`.config_checks.check_config` and :func:`.config_parts.check_parts` find, and
            what cannot be built, with its key in the config.
    """
    check_config(cfg, cfg.filename or "the config", needs)
    check_parts(cfg, _BUILT[needs])
    on_cpus = cfg.launcher != "none" and not torch.cuda.is_available()
    if on_cpus and cfg.launcher != "pytorch":
        raise UserError(
            f"--launcher {cfg.launcher} needs GPUs, and torch finds none: use --launcher "
            "pytorch (tools/dist_train.sh) for several processes on CPUs."
        )
    variable, starter = _STARTED_WITH.get(cfg.launcher, (None, None))
    if variable is not None and variable not in os.environ:
        raise UserError(
            f"--launcher {cfg.launcher} works only in a process started by {starter}, but "
            f"{variable} is not set."
        )
    if on_cpus:
        if not torch.distributed.is_initialized():
            timeout = timedelta(seconds=seconds_of_waiting(cfg))
            torch.distributed.init_process_group("gloo", timeout=timeout)
        wrapper = cfg.get("model_wrapper_cfg") or dict(
            type="MMDistributedDataParallel",
            broadcast_buffers=False,
            find_unused_parameters=cfg.get("find_unused_parameters", False),
        )
        # mmengine fills in the local rank as a GPU's number
        cfg.model_wrapper_cfg = ConfigDict(wrapper, device_ids=None)
        cfg.env_cfg.setdefault("dist_cfg", {})["backend"] = "gloo"
    cfg.setdefault("runner_type", "DurableRunner")
    if is_reference(cfg.get("load_from")) and needs == "train":
        begin_from(cfg, cfg.load_from)
    with explained(cfg):
        return RUNNERS.build(cfg)

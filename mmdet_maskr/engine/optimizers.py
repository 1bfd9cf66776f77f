"""A run's optimizers: one, or several by name (mmengine's OptimWrapperDict)."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from mmengine.model import (
    BaseModel,
    MMDistributedDataParallel,
    MMSeparateDistributedDataParallel,
)
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from torch import nn
from torch.optim import Optimizer, SparseAdam

from mmdet_maskr.engine.unwrap import unwrapped
from mmdet_maskr.errors import UserError

# Layers whose gradients are sparse where their `sparse` is set; those of torch's others never are.
_MAY_BE_SPARSE = (nn.Embedding, nn.EmbeddingBag)
# What takes one optimizer, and gives it one loss a step.
_ONCE = (BaseModel.train_step, MMDistributedDataParallel.train_step)


def optim_wrappers(wrapper: OptimWrapper) -> dict[str, OptimWrapper]:
    """Those within an OptimWrapperDict by name; another one alone, by the name ''."""
    return dict(wrapper.items()) if isinstance(wrapper, OptimWrapperDict) else {"": wrapper}


def check_optimizers(runner: Runner) -> None:
    """Refuse what could not do its first step.

    Raises:
        UserError: an optimizer that asks for the loss anew (LBFGS) with a model whose
            ``train_step`` gives it once; one of sparse gradients (SparseAdam) for weights that
            have dense ones; several optimizers with a model that knows of one.
    """
    model = unwrapped(runner)
    steps = model if isinstance(runner.model, MMSeparateDistributedDataParallel) else runner.model
    steps_once = getattr(type(steps), "train_step", None) in _ONCE
    if steps_once and isinstance(runner.optim_wrapper, OptimWrapperDict):
        raise UserError(
            f"optim_wrapper has the optimizers {', '.join(runner.optim_wrapper.keys())}, and "
            f"{type(model).__name__}.train_step uses only one: set one optimizer, or use a "
            "model whose train_step calls update_params of each."
        )
    for name, wrapper in optim_wrappers(runner.optim_wrapper).items():
        optimizer = getattr(wrapper, "optimizer", None)
        if not isinstance(optimizer, Optimizer):
            continue
        place = f"optim_wrapper.{name}{'.' * bool(name)}optimizer.type={type(optimizer).__name__}"
        if steps_once and _needs_closure(optimizer):
            raise UserError(
                f"{place} computes the loss several times per step, but "
                f"{type(model).__name__}.train_step computes it once: use another optimizer, "
                "such as SGD or AdamW, or a model whose train_step passes "
                "step_kwargs=dict(closure=...)."
            )
        dense = next(_dense(optimizer, model), None) if isinstance(optimizer, SparseAdam) else None
        if dense is not None:
            raise UserError(
                f"{place} needs sparse gradients, but the gradients of {dense} are dense: set "
                "optimizer.type='Adam'."
            )


def _needs_closure(optimizer: Optimizer) -> bool:
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty


def _dense(optimizer: Optimizer, model: nn.Module) -> Iterator[str]:
    """Names of an optimizer's parameters that are those of torch's layers with dense gradients."""
    own = {id(p) for group in optimizer.param_groups for p in group["params"] if p.requires_grad}
    for name, module in model.named_modules():
        if not type(module).__module__.startswith("torch.nn."):
            continue
        if isinstance(module, _MAY_BE_SPARSE) and module.sparse:
            continue
        for key, parameter in module.named_parameters(recurse=False):
            if id(parameter) in own:
                yield f"{name}.{key}"

"""The context in which tensors pass for ones on a GPU."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

from mmdet_maskr import adjustments
from mmdet_maskr.benchmark.pretended_gpu import costs
from mmdet_maskr.benchmark.pretended_gpu.counts import Counts
from mmdet_maskr.benchmark.pretended_gpu.tensor import (
    CUDA,
    FLOAT32_IN_AUTOCAST,
    STATE,
    PretendedTensor,
    to_device,
    to_host,
)

OF_DATA = (torch.tensor, torch.as_tensor, torch.asarray)
# Kernels of MMCV's compiled operators, and whether the host waits for them.
MMCV_KERNELS = dict(
    nms=(4, True),
    roi_align_forward=(1, False),
    roi_align_backward=(1, False),
    roi_pool_forward=(1, False),
    roi_pool_backward=(1, False),
    modulated_deform_conv_forward=(6, False),
    modulated_deform_conv_backward=(10, False),
    deform_conv_forward=(6, False),
    deform_conv_backward_input=(8, False),
    deform_conv_backward_parameters=(6, False),
    sigmoid_focal_loss_forward=(1, False),
    sigmoid_focal_loss_backward=(1, False),
)


@contextmanager
def pretended_gpu() -> Iterator[Counts]:
    """A GPU that is not there; gives the counts of what it is given to do meanwhile.

    Move models there by :func:`.on_gpu`, tensors by ``tensor.to("cuda")``. MMCV's operators count
    as its compiled ones. ``torch.autocast("cuda", ...)`` is the CPU's, with CUDA's choice of
    operators that stay in float32.
    """
    import mmcv.ops  # noqa: F401  (its modules are changed)

    counts = Counts()
    before, STATE.counts = STATE.counts, counts
    modules = [m for name, m in sys.modules.items() if name.startswith("mmcv.ops.")]
    users = [m for m in modules if hasattr(m, "ext_module")]
    constants = [m for name, m in sys.modules.items() if name == "mmdet_maskr.ops.constants"]
    with ExitStack() as stack:
        for module in users:
            kernels = _Kernels(module.ext_module)
            stack.enter_context(adjustments.replaced([module], "ext_module", kernels))
        autocast = _of_cpu(torch.autocast.__init__)
        stack.enter_context(adjustments.replaced([torch.autocast], "__init__", autocast))
        stack.enter_context(_Functions())
        try:
            yield counts
        finally:
            STATE.counts = before
            for module in constants:
                module.forget()


def _of_cpu(init: Callable[..., None]) -> Callable[..., None]:
    def changed(self: torch.autocast, device_type: str, *args: Any, **kwargs: Any) -> None:
        init(self, "cpu" if device_type == "cuda" else device_type, *args, **kwargs)

    return changed


class _Kernels:
    """``mmcv._ext``, compiled for the pretended GPU."""

    def __init__(self, extension: Any) -> None:
        self._extension = extension

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function = getattr(self._extension, name)

        def run(*args: Any, **kwargs: Any) -> Any:
            tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
            own = [t for t in tensors if isinstance(t, PretendedTensor)]
            if not own:
                return function(*args, **kwargs)
            if any(t.dim() and t.numel() for t in tensors if not isinstance(t, PretendedTensor)):
                raise RuntimeError(f"mmcv's {name} got tensors on the CPU, others on cuda:0.")
            number, waits = MMCV_KERNELS.get(name, (1, False))
            if STATE.counts is not None:
                STATE.counts.launch(f"mmcv {name}", number)
                if waits:
                    STATE.counts.sync(f"mmcv {name}")
            args, kwargs = tree_map_only(PretendedTensor, lambda t: t.real_, (args, kwargs))
            with torch._C.DisableTorchFunction():
                results = function(*args, **kwargs)
            return tree_map_only(Tensor, PretendedTensor, results)

        return run


class _Functions(TorchFunctionMode):
    """Sends tensors to the pretended GPU where torch's functions are asked for it."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if func in (Tensor.to, Tensor.cuda, Tensor.cpu):
            return _to(func, *args, **kwargs)
        if func is Tensor.pin_memory or func is Tensor.is_pinned:
            return args[0] if func is Tensor.pin_memory else False
        if func is Tensor.tolist and isinstance(args[0], PretendedTensor):
            return args[0].tolist()
        if func in OF_DATA or func is Tensor.new_tensor:
            return _of_data(func, args, kwargs)
        target = kwargs.get("device")
        if target is not None and func is not torch.autocast:
            return _made(func, args, kwargs, _is_gpu(target))
        if name in FLOAT32_IN_AUTOCAST and torch.is_autocast_enabled("cpu"):
            args, kwargs = tree_map_only(Tensor, _in_float32, (args, kwargs))
        return func(*args, **kwargs)


def _in_float32(value: Tensor) -> Tensor:
    if isinstance(value, PretendedTensor) and value.dtype in (torch.float16, torch.bfloat16):
        return value.float()
    return value


def _is_gpu(device: Any) -> bool:
    if isinstance(device, int) and not isinstance(device, bool):
        return True
    return torch.device(device).type == CUDA.type


def _to(func: Any, value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """``to``, ``cuda`` and ``cpu``."""
    device: Any = {Tensor.cuda: CUDA, Tensor.cpu: torch.device("cpu")}.get(func)
    dtype = kwargs.pop("dtype", None)
    blocking = not kwargs.pop("non_blocking", False)
    copy = kwargs.pop("copy", False)
    other = kwargs.pop("other", None)
    device = kwargs.pop("device", device)
    rest = list(args)
    if rest and isinstance(rest[0], Tensor):
        other = rest.pop(0)
    if other is not None:
        device, dtype = other.device, other.dtype
    if rest and isinstance(rest[0], (str, torch.device, int)) and not isinstance(rest[0], bool):
        device = rest.pop(0)
    elif rest and rest[0] is None:
        rest.pop(0)
    if rest and isinstance(rest[0], torch.dtype):
        dtype = rest.pop(0)
    if rest and func is Tensor.to:
        blocking = not rest[0]
    if device is not None and _is_gpu(device) != isinstance(value, PretendedTensor):
        copy = False
        value = to_device(value, blocking) if _is_gpu(device) else to_host(value)
    if func is Tensor.to and (dtype is not None or copy or kwargs):
        dtype = value.dtype if dtype is None else dtype
        return Tensor.to(value, dtype, copy=copy, **kwargs)
    return value


def _of_data(func: Any, args: tuple, kwargs: dict) -> Tensor:
    """``torch.tensor`` and its like: numbers of the host."""
    device = kwargs.pop("device", None)
    data = args[-1] if args else kwargs.get("data", kwargs.get("obj"))
    gpu = isinstance(args[0], PretendedTensor) if args else False
    if device is not None:
        gpu = _is_gpu(device)
    if isinstance(data, Tensor) and func is not Tensor.new_tensor:
        result = data if func is not torch.tensor else data.detach().clone()
        return _to(Tensor.to, result, CUDA if gpu else "cpu", **kwargs)
    for part in tree_leaves(data):
        if isinstance(part, PretendedTensor) and STATE.counts is not None:
            STATE.counts.sync("numbers of the device in torch.tensor")
    data = tree_map_only(PretendedTensor, lambda t: t.real_, data)
    if func is Tensor.new_tensor:
        kwargs.setdefault("dtype", args[0].dtype)
        func, args = torch.tensor, args[1:]
    result = func(data, *args[1:], **kwargs)
    return to_device(result, True) if gpu else result


def _made(func: Any, args: tuple, kwargs: dict, gpu: bool) -> Any:
    """``torch.zeros(..., device=...)``, ``new_zeros`` and their like."""
    kwargs.pop("device")
    if any(isinstance(leaf, PretendedTensor) for leaf in tree_leaves((args, kwargs))):
        result = func(*args, **kwargs)
        return result if gpu else _without_count(to_host, result)
    result = func(*args, **kwargs)
    if not gpu:
        return result
    if STATE.counts is not None and not _is_free(func):
        STATE.counts.launch(getattr(func, "__name__", "factory"))
    return tree_map_only(Tensor, lambda t: _without_count(_wrapped, t), result)


def _is_free(func: Any) -> bool:
    """Whether a function only allocates."""
    return getattr(func, "__name__", "") in costs.NONE


def _wrapped(value: Tensor) -> Tensor:
    own = PretendedTensor(value.detach())
    return own.requires_grad_(value.requires_grad)


def _without_count(function: Callable[[Tensor], Tensor], value: Tensor) -> Tensor:
    counts, STATE.counts = STATE.counts, None
    try:
        return function(value)
    finally:
        STATE.counts = counts

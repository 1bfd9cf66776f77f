"""Tensors that report a GPU as their device."""

from __future__ import annotations

import threading
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from mmdet_maskr.benchmark.pretended_gpu import costs
from mmdet_maskr.benchmark.pretended_gpu.counts import BACKWARD, Counts, place

CUDA = torch.device("cuda", 0)
# In the fp32 list of CUDA's autocast, but not in that of the CPU's, which computes here.
FLOAT32_IN_AUTOCAST = frozenset(
    "acos asin cosh cdist cosine_similarity cross_entropy cumprod cumsum dist erfinv exp expm1 "
    "binary_cross_entropy_with_logits group_norm kl_div l1_loss layer_norm log log10 log1p log2 "
    "log_softmax mse_loss nll_loss norm normalize pow __pow__ __rpow__ prod reciprocal rsqrt sinh "
    "smooth_l1_loss softmax softplus sum tan".split()
)


class _State(threading.local):
    counts: Counts | None = None


STATE = _State()


class PretendedTensor(Tensor):
    """A tensor of the CPU that passes for one on ``cuda:0``.

    Its operators are counted in the :class:`.Counts` of the pretence that is on.

    Raises:
        RuntimeError: an operator gets tensors of both devices.
        TypeError: it is turned into an array.
    """

    real_: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, real: Tensor) -> PretendedTensor:
        own = Tensor._make_wrapper_subclass(
            cls,
            real.shape,
            strides=real.stride(),
            storage_offset=real.storage_offset(),
            dtype=real.dtype,
            device=real.device,
        )
        own.real_ = real
        return own

    device = property(lambda self: CUDA)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)

    def get_device(self) -> int:
        return 0

    def __repr__(self, **options: Any) -> str:
        return f"PretendedTensor({self.real_!r}, device='cuda:0')"

    def numpy(self, **options: Any) -> Any:
        raise TypeError(
            "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor "
            "to host memory first."
        )

    __array__ = numpy

    def tolist(self) -> Any:
        _count_sync("tolist")
        return self.real_.detach().tolist()

    def __deepcopy__(self, memo: dict) -> Tensor:
        if id(self) not in memo:
            copy = self.detach().clone().requires_grad_(self.requires_grad)
            memo[id(self)] = copy
        return memo[id(self)]

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return dispatch(func, args, kwargs or {})


def real(value: Tensor) -> Tensor:
    """The CPU's tensor (D1, ..., Dn) that holds the values of ``value``, without a count."""
    value = value.detach()
    return value.real_ if isinstance(value, PretendedTensor) else value


def on_gpu(model: nn.Module) -> nn.Module:
    """Move a model's parameters and buffers to the pretended GPU, in place, without a count."""
    counts, STATE.counts = STATE.counts, None
    moved: dict[int, Tensor] = {}
    try:
        for module in model.modules():
            if isinstance(module, BaseDataPreprocessor):
                module._device = CUDA  # where it sends images, set by Module.to
            for own in (module._parameters, module._buffers):
                for name, value in own.items():
                    if value is None or isinstance(value, PretendedTensor):
                        continue
                    if id(value) not in moved:
                        copy: Tensor = PretendedTensor(value.detach().clone())
                        if isinstance(value, nn.Parameter):
                            copy = nn.Parameter(copy, requires_grad=value.requires_grad)
                        moved[id(value)] = copy
                    own[name] = moved[id(value)]
    finally:
        STATE.counts = counts
    return model


def to_device(value: Tensor, waits: bool) -> Tensor:
    """Copy a tensor of the host to the pretended GPU, and count its bytes.

    Args:
        value: (D1, ..., Dn), any shape, on the CPU.
        waits: whether the host does, as without ``non_blocking=True``.

    Returns:
        A :class:`PretendedTensor` of the same shape and type; gradients pass.
    """
    if STATE.counts is not None:
        STATE.counts.copy_to_device(value.numel() * value.element_size())
    if waits:
        _count_sync("copy to the device without non_blocking")
    return _Move.apply(value, True)


def to_host(value: Tensor) -> Tensor:
    """Copy a tensor (D1, ..., Dn) of any shape to the host, which waits; gradients pass."""
    _count_sync("copy to the host")
    return _Move.apply(value, False)


class _Move(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value: Tensor, to_gpu: bool) -> Tensor:
        ctx.to_gpu = to_gpu
        copy = real(value).clone()
        return PretendedTensor(copy) if to_gpu else copy

    @staticmethod
    def backward(ctx, grad: Tensor):
        return (to_host(grad) if ctx.to_gpu else to_device(grad, True)), None


def _count_sync(reason: str) -> None:
    if STATE.counts is not None:
        STATE.counts.sync(reason)


def dispatch(func: Any, args: tuple, kwargs: dict) -> Any:
    """Run an operator on the real tensors, count it, and pass its results for the GPU's."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    own = [t for t in tensors if isinstance(t, PretendedTensor)]
    name = costs.name_of(func)
    if name == "copy_" and isinstance(args[0], PretendedTensor) != isinstance(
        args[1], PretendedTensor
    ):
        return _copy_across(func, args, kwargs)
    _check_devices(name, args, tensors)
    plain_args = tree_map_only(PretendedTensor, lambda t: t.real_, args)
    plain_kwargs = tree_map_only(PretendedTensor, lambda t: t.real_, kwargs)
    plain_kwargs.pop("device", None)
    results = func(*plain_args, **plain_kwargs)
    found = [leaf for leaf in tree_leaves(results) if isinstance(leaf, Tensor)]
    counts = STATE.counts
    if counts is not None:
        reason = costs.wait(func, args, kwargs)
        if reason is not None:
            counts.sync(reason)
            if reason == "boolean index":
                counts.launch("nonzero", costs.KERNELS["nonzero"])
        counts.launch(name, costs.kernels(func, args, tensors, found))
        elements = costs.half_sum(func, tensors, found)
        if elements is not None and place() != BACKWARD:
            counts.half_sums[name, elements, place()] += 1
    known = {id(t.real_): t for t in own}
    return tree_map_only(
        Tensor, lambda t: known[id(t)] if id(t) in known else PretendedTensor(t), results
    )


def _copy_across(func: Any, args: tuple, kwargs: dict) -> Tensor:
    """``copy_`` from one device to the other."""
    target, source = args[:2]
    waits = not (kwargs.get("non_blocking") or (len(args) > 2 and args[2]))
    if isinstance(target, PretendedTensor):
        if STATE.counts is not None:
            STATE.counts.copy_to_device(source.numel() * source.element_size())
        if waits:
            _count_sync("copy to the device without non_blocking")
    else:
        _count_sync("copy to the host")
    func(*tree_map_only(PretendedTensor, lambda t: t.real_, args), **kwargs)
    return target


def _check_devices(name: str, args: tuple, tensors: list[Tensor]) -> None:
    """Refuse tensors of both devices where a GPU would.

    Numbers without a dimension may be the host's, and so may indices, which are copied then.

    Raises:
        RuntimeError: as torch's.
    """
    strangers = [t for t in tensors if not isinstance(t, PretendedTensor)]
    if name in costs.INDEXING and isinstance(args[0], PretendedTensor):
        indices = [i for i in args[1] if isinstance(i, Tensor)]
        for index in indices:
            if not isinstance(index, PretendedTensor):
                if STATE.counts is not None:
                    STATE.counts.copy_to_device(index.numel() * index.element_size())
                _count_sync("copy of an index to the device")
        strangers = [t for t in strangers if not any(t is i for i in indices)]
    in_list = name in ("cat", "stack", "_foreach_add_", "_foreach_mul_")
    # autograd makes zeros itself, where no mode and no tensor says that they are the GPU's
    if any(t.dim() > 0 or in_list for t in strangers) and place() != BACKWARD:
        shapes = [f"{tuple(t.shape)} on {t.device}" for t in tensors]
        raise RuntimeError(
            f"{name}: expected all tensors to be on the same device, but they are "
            f"{', '.join(shapes)}."
        )

"""The cost of an ATen operator on a GPU: kernels, and waits of the host.

Kernels are those of torch's CUDA backend, rounded: operators that are not listed are one, views
and allocations are none. Waits are those that ``torch.cuda.set_sync_debug_mode`` warns of.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

KERNELS = dict(
    nonzero=4,  # count, scan, write
    masked_select=5,
    sort=4,
    topk=3,
    argsort=4,
    cumsum=2,
    randperm=3,
    _unique2=8,
    unique_dim=10,
    unique_consecutive=6,
    index_put_=2,
    _index_put_impl_=2,
    bincount=3,
    native_group_norm=2,
    max_pool2d_with_indices_backward=2,
)
NONE = {
    "_local_scalar_dense",
    "detach",
    "detach_",
    "empty",
    "empty_like",
    "empty_strided",
    "new_empty",
    "new_empty_strided",
    "_unsafe_view",
    "lift_fresh",
    "resize_",
    "set_",
}
WAITS = {
    "nonzero": "nonzero",
    "masked_select": "masked_select",
    "equal": "equal",
    "is_nonzero": "bool",
    "bincount": "bincount",
    "histc": "histc",
    "_unique": "unique",
    "_unique2": "unique",
    "unique_dim": "unique",
    "unique_consecutive": "unique",
    "unique_dim_consecutive": "unique",
    "_local_scalar_dense": "item, bool, int or float",
}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index_put"}
FOREACH_CHUNK = 65536  # elements a block of a multi-tensor kernel takes
FOREACH_BLOCKS = 320  # blocks of one launch
FOREACH_TENSORS = 64  # tensors of one launch
# Sums in float16 above this number of elements lose what a single element adds, 1 in 2048.
HALF_LIMIT = 2048
SUMS = {"sum", "mean", "cumsum", "norm", "linalg_vector_norm", "var", "std", "logsumexp", "dot"}


def name_of(func: Any) -> str:
    """``add`` of ``aten::add.Tensor``."""
    return func._schema.name.split("::")[-1]


def kernels(
    func: Any, args: Sequence[Any], tensors: Sequence[Tensor], results: Sequence[Tensor]
) -> int:
    """How many kernels an operator launches.

    Args:
        func: the operator.
        args: its positional arguments.
        tensors: its tensor arguments, of any shapes (D1, ..., Dn).
        results: the tensors that it returns, of any shapes.
    """
    name = name_of(func)
    if name in NONE or func.is_view or (results and all(r.numel() == 0 for r in results)):
        return 0
    if name.startswith("_foreach"):
        lists = [own for own in tensors if own.numel()]
        blocks = sum(math.ceil(own.numel() / FOREACH_CHUNK) for own in lists)
        # tensors come from one to three lists; the first says how many there are
        depth = max(1, len(lists) // max(1, len({id(r) for r in results}) or len(lists)))
        return max(
            1,
            math.ceil(blocks / depth / FOREACH_BLOCKS),
            math.ceil(len(lists) / depth / FOREACH_TENSORS),
        )
    if name == "convolution":
        return 1 + (args[2] is not None)  # cuDNN adds the bias after the convolution
    if name == "convolution_backward":
        return sum(args[-1])  # of the input, the weight, the bias: those that are asked for
    if name == "native_batch_norm":
        return 2 if args[5] else 1  # with the images' statistics, and with the running ones
    return KERNELS.get(name, 1)


def wait(func: Any, args: Sequence[Any], kwargs: dict) -> str | None:
    """Why the host waits for an operator; None where it does not."""
    name = name_of(func)
    if name == "repeat_interleave":
        known = kwargs.get("output_size")
        if known is None and len(args) > 1 and isinstance(args[-1], int):
            known = args[-1]
        return None if known is not None else "repeat_interleave without output_size"
    if name in INDEXING and any(_is_mask(index) for index in args[1] or ()):
        return None if _fills(name, args) else "boolean index"
    return WAITS.get(name)


def _is_mask(index: Any) -> bool:
    return isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8)


def _fills(name: str, args: Sequence[Any]) -> bool:
    """Whether it is ``x[mask] = number``, which is masked_fill."""
    if name == "index" or len([i for i in args[1] if i is not None]) != 1:
        return False
    accumulates = len(args) > 3 and args[3]
    value = args[2]
    return value.dim() == 0 and value.device.type == "cpu" and not accumulates


def half_sum(func: Any, tensors: Sequence[Tensor], results: Sequence[Tensor]) -> int | None:
    """How many float16 elements an operator sums into one.

    Args:
        func: the operator.
        tensors: its tensor arguments, of any shapes (D1, ..., Dn); the first is summed.
        results: the tensors that it returns, of any shapes.

    Returns:
        The number; None where it is at most ``HALF_LIMIT``, for another type and another operator.
    """
    if name_of(func) not in SUMS or not tensors or not results:
        return None
    if tensors[0].dtype != torch.float16 or results[0].dtype != torch.float16:
        return None
    if name_of(func) == "cumsum":
        elements = max(tensors[0].shape, default=1)
    else:
        elements = tensors[0].numel() // max(1, results[0].numel())
    return elements if elements > HALF_LIMIT else None

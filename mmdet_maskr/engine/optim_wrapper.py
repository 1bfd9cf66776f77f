"""Mixed precision where mmengine's AmpOptimWrapper refuses to work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmdet.registry import OPTIM_WRAPPERS
from mmengine.optim import OptimWrapper
from mmengine.runner.amp import autocast
from torch import nn

from mmdet_maskr.errors import UserError


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Automatic mixed precision in bfloat16, on a CPU or a GPU.

    bfloat16 has float32's range, so there is no loss scaling. mmengine's AmpOptimWrapper (float16
    with loss scaling) asserts that there is a GPU.

    Args:
        loss_scale: of AmpOptimWrapper; any does nothing here, as bfloat16 needs none.
        dtype: of AmpOptimWrapper; 'bfloat16' or None.
        use_fsdp: of AmpOptimWrapper, where it chooses a kind of scaler; does nothing here.
        options: OptimWrapper's.

    Raises:
        UserError: another ``dtype``.
    """

    def __init__(
        self,
        loss_scale: str | float | dict = "dynamic",
        dtype: str | torch.dtype | None = None,
        use_fsdp: bool = False,
        **options,
    ) -> None:
        if dtype not in (None, "bfloat16", torch.bfloat16):
            raise UserError(
                f"BFloat16OptimWrapper computes in bfloat16, not in dtype={dtype!r}: leave dtype "
                "out, or set optim_wrapper.type='AmpOptimWrapper', which needs a GPU."
            )
        super().__init__(**options)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the forward pass of ``model`` in bfloat16 where torch deems it safe."""
        with super().optim_context(model), autocast(dtype=torch.bfloat16):
            yield

"""Mixed precision where mmengine's AmpOptimWrapper refuses to work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmdet.registry import OPTIM_WRAPPERS
from mmengine.optim import OptimWrapper
from mmengine.runner.amp import autocast
from torch import nn


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Automatic mixed precision in bfloat16, on a CPU or a GPU.

    bfloat16 has float32's range, so there is no loss scaling. mmengine's AmpOptimWrapper (float16
    with loss scaling) asserts that there is a GPU. Takes OptimWrapper's options.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the forward pass of ``model`` in bfloat16 where torch deems it safe."""
        with super().optim_context(model), autocast(dtype=torch.bfloat16):
            yield

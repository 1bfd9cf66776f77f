"""Whether a model is being traced for export."""

from __future__ import annotations

import torch


def is_traced() -> bool:
    """Whether torch records the operations: ``torch.jit.trace``, an export, a count of FLOPs by it.

    What runs then must be torch's own operators on tensors: a Python autograd function cannot be
    written to a file, and a number, a branch or a loop that follows from the values of this call
    holds for all later ones.
    """
    return (
        torch.jit.is_tracing()
        or torch.onnx.is_in_onnx_export()
        or (hasattr(torch.compiler, "is_exporting") and torch.compiler.is_exporting())
    )

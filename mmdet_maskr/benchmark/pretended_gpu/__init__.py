"""A simulated GPU: results from the CPU, and a count of what a GPU would have to do for them.

Tensors say that they are on ``cuda:0`` (:class:`.PretendedTensor`), and code takes the ways that it
takes on a GPU. Each operator on them is counted by the line that calls it: kernel launches, waits
of the host for the GPU, and copies between them. Operators that mix devices raise, as on a GPU.
"""

from mmdet_maskr.benchmark.pretended_gpu.counts import Counts
from mmdet_maskr.benchmark.pretended_gpu.pretence import pretended_gpu
from mmdet_maskr.benchmark.pretended_gpu.tensor import PretendedTensor, on_gpu, real

__all__ = ["Counts", "PretendedTensor", "on_gpu", "pretended_gpu", "real"]

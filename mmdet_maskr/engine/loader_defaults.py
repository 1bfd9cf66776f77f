"""Default number and prefetching of data workers, where a config does not set them.

A sample costs 4 to 15 ms of a core (``maskr benchmark data``), and the newest GPUs train 100
images a second; a CPU takes seconds for one. What is loaded does not depend on any of this
(:mod:`.exact_loading`).
"""

from __future__ import annotations

import copy
import math
import os
from typing import Any

import torch
from mmengine.dist import get_world_size

from mmdet_maskr.platforms import usable_cpus

MOST = 8  # workers of a rank, each with a copy of what Python has in memory
FEW = 2  # for a model on the CPU, whose own threads need the cores
AHEAD = 8  # batches that are loaded or being loaded, so that no large image stops the model
_RANKS = ("LOCAL_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS")


def with_defaults(loader: dict[str, Any]) -> dict[str, Any]:
    """A data loader's config with ``num_workers`` and what depends on it; what it has, stays.

    Args:
        loader: of a config.

    Returns:
        With ``num_workers`` by the cores that a rank has, ``persistent_workers`` and
        ``prefetch_factor`` where there are workers, ``pin_memory`` where there is a GPU.
    """
    filled = copy.copy(loader)
    on_gpu = torch.cuda.is_available()
    workers = filled.setdefault("num_workers", workers_of(cores_of_rank(), on_gpu))
    if isinstance(workers, int) and workers > 0:
        filled.setdefault("persistent_workers", True)
        filled.setdefault("prefetch_factor", max(2, math.ceil(AHEAD / workers)) if on_gpu else 2)
    if on_gpu:
        filled.setdefault("pin_memory", True)
    return filled


def workers_of(cores: int, on_gpu: bool) -> int:
    """Workers for a rank with so many cores, of which its own process needs one."""
    return max(1, min(MOST if on_gpu else FEW, cores - 1))


def cores_of_rank() -> int:
    """Cores for each of the ranks of this machine."""
    cores = usable_cpus()
    own = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if own.isdecimal() and int(own):  # srun may bind a task to them, or not
        return min(cores, int(own))
    known = [os.environ.get(name, "") for name in _RANKS]
    ranks = next((int(text) for text in known if text.isdecimal() and int(text)), get_world_size())
    return max(1, cores // ranks)

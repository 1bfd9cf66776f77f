"""The machine that trains: cores, memory, GPUs."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mmdet_maskr.platforms import usable_cpus


@dataclass(frozen=True)
class Machine:
    """The properties of a machine that a recipe depends on.

    Attributes:
        gpu: name of the GPU; None if training runs on a CPU.
        gpu_memory: memory of the GPU in GiB.
        cores: number of cores that this process may use.
    """

    gpu: str | None
    gpu_memory: float
    cores: int

    def __str__(self) -> str:
        if self.gpu is None:
            return f"CPU, {self.cores} cores"
        return f"{self.gpu}, {self.gpu_memory:.0f} GiB"


def this_machine() -> Machine:
    """The properties of this machine."""
    if not torch.cuda.is_available():
        return Machine(None, 0.0, usable_cpus())
    facts = torch.cuda.get_device_properties(0)
    return Machine(facts.name, facts.total_memory / 2**30, usable_cpus())

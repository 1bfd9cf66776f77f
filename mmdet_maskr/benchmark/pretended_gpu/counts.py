"""The counters of a simulated GPU, by line of code."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

PACKAGES = ("/mmdet_maskr/", "/mmdet/", "/mmengine/", "/mmcv/")
OWN = "/benchmark/pretended_gpu/"
ENGINE = "/torch/autograd/graph.py"  # runs the backward pass
BACKWARD = "backward pass"


@dataclass
class Counts:
    """Launches, synchronizations and copies, each by the place in the code.

    Attributes:
        launches: kernels by (operator, place).
        syncs: waits of the host by (what for, place).
        to_device: copies to the GPU by place.
        to_device_bytes: their bytes.
        half_sums: sums, means and norms in float16 over many elements, by (operator, elements,
            place); they overflow.
    """

    launches: Counter[tuple[str, str]] = field(default_factory=Counter)
    syncs: Counter[tuple[str, str]] = field(default_factory=Counter)
    to_device: Counter[str] = field(default_factory=Counter)
    to_device_bytes: Counter[str] = field(default_factory=Counter)
    half_sums: Counter[tuple[str, int, str]] = field(default_factory=Counter)

    def clear(self) -> None:
        """Begin anew."""
        for counter in vars(self).values():
            counter.clear()

    def launch(self, operator: str, number: int = 1) -> None:
        """Kernels of an operator."""
        if number:
            self.launches[operator, place()] += number

    def sync(self, reason: str) -> None:
        """The host waits until the GPU has done all that it was given."""
        self.syncs[reason, place()] += 1

    def copy_to_device(self, bytes_: int) -> None:
        """Data of the host goes to the GPU."""
        self.to_device[place()] += 1
        self.to_device_bytes[place()] += bytes_

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing within is counted."""
        kept = {name: Counter(counter) for name, counter in vars(self).items()}
        try:
            yield
        finally:
            for name, counter in kept.items():
                setattr(self, name, counter)

    def totals(self) -> dict[str, int]:
        """``launches``, ``syncs``, ``copies`` to the device and ``copied_bytes``."""
        return dict(
            launches=self.launches.total(),
            syncs=self.syncs.total(),
            copies=self.to_device.total(),
            copied_bytes=self.to_device_bytes.total(),
        )

    def by_place(self) -> list[tuple[str, int, int, int]]:
        """(place, launches, synchronizations, copies to the device), most waits first."""
        launches: Counter[str] = Counter()
        syncs: Counter[str] = Counter()
        for (_, where), number in self.launches.items():
            launches[where] += number
        for (_, where), number in self.syncs.items():
            syncs[where] += number
        rows = [(w, launches[w], syncs[w], self.to_device[w]) for w in {*launches, *syncs}]
        return sorted(rows, key=lambda row: (-row[2], -row[1], row[0]))


def place() -> str:
    """``package/file.py:line`` of the innermost caller in an OpenMMLab package or this one.

    Kernels that autograd runs itself are of the :data:`BACKWARD`; where none of the packages is on
    the stack, it is the innermost caller outside of torch.
    """
    outside = "?"
    stack = traceback.StackSummary.extract(traceback.walk_stack(None), lookup_lines=False)
    for entry in stack:
        line = entry.lineno
        name = entry.filename.replace("\\", "/")
        if name.endswith(ENGINE):
            return BACKWARD
        if OWN not in name:
            for package in PACKAGES:
                start = name.rfind(package)
                if start >= 0:
                    return f"{name[start + 1 :]}:{line}"
            if outside == "?" and "/torch/" not in name:
                outside = f"{name.rsplit('/', 1)[-1]}:{line}"
    return outside

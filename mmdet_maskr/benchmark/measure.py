"""Timing in turn, peak memory in fresh processes, tables and JSON."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from mmdet_maskr.atomic_files import write_whole
from mmdet_maskr.errors import UserError
from mmdet_maskr.platforms import peak_memory_bytes, usable_cpus

MIB = 2**20


@dataclass
class Timing:
    """Seconds of several repeats, and MiB above what was there before."""

    median: float
    min: float
    max: float
    peak_mib: float | None = None

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Timing:
        """Of the seconds of several repeats."""
        return cls(statistics.median(seconds), min(seconds), max(seconds))


@dataclass
class TimedCase:
    """One case. ``ratio`` is the peer's median over ours: above 1 ours is faster."""

    case: str
    ours: Timing
    peer: Timing
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """The peer's median time over ours."""
        return self.peer.median / self.ours.median


def time_in_turn(
    contenders: dict[str, Callable[[], float]], repeats: int, warmup: int = 1
) -> dict[str, Timing]:
    """Run the contenders alternately, so that a busy machine is busy for all of them.

    Args:
        contenders: by name, functions that do the work once and return the seconds it took.
        repeats: runs of each that count.
        warmup: runs of each before those.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(warmup + repeats):
        for name, run in contenders.items():
            taken = run()
            if turn >= warmup:
                seconds[name].append(taken)
            show_progress(f"{name}: run {turn + 1} of {warmup + repeats}, {taken:.3f} s")
    show_progress("")
    return {name: Timing.of(values) for name, values in seconds.items()}


def timed(work: Callable[[], Any]) -> float:
    """Seconds that ``work()`` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def on_device(name: str) -> torch.device:
    """The device of ``--device``, where float32 is float32.

    TF32 rounds to 11 bits: forms that are to be equal would differ by more than rounding, and the
    yardstick that is the matrix product is computed in float32.

    Raises:
        UserError: no GPU for 'cuda'.
    """
    device = torch.device(name)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise UserError(f"--device {name}: torch finds no GPU.")
        torch.backends.cudnn.allow_tf32 = False
    return device


def now(device: torch.device) -> float:
    """Seconds on the clock, when all work that was given to the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def peak_mib(prepare: Callable[..., Callable[[], Any]], *args: Any, threads: int) -> float:
    """Memory that a piece of work takes, measured in a fresh process.

    The process calls ``prepare(*args)`` for the work, then does it once. The result is the highest
    size during it above the size before it. Where the work uses a GPU, that of torch's tensors
    there; else the resident size: /proc/self/status VmHWM, reset before, on Linux; elsewhere the
    growth of ru_maxrss, which can miss a peak below an earlier one.

    Args:
        prepare: function of a module, as it is sent by name; makes inputs and warms up on tiny
            ones.
        args: what it is called with.
        threads: of torch in the process.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_of, (prepare, args, threads))


def _peak_of(prepare: Callable[..., Callable[[], Any]], args: tuple, threads: int) -> float:
    torch.set_num_threads(threads)
    work = prepare(*args)
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() / MIB
        work()
        return torch.cuda.max_memory_allocated() / MIB - before
    clear, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    try:
        clear.write_text("5")  # peak := current
        before = _status_mib(status, "VmRSS")
        work()
        return _status_mib(status, "VmHWM") - before
    except OSError:
        before = peak_memory_bytes()
        work()
        return (peak_memory_bytes() - before) / MIB


def _status_mib(status: Path, name: str) -> float:
    found = re.search(rf"{name}:\s+(\d+) kB", status.read_text())
    if found is None:
        raise OSError(f"{status} has no {name}")
    return int(found.group(1)) / 1024


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    load = os.getloadavg() if hasattr(os, "getloadavg") else ()
    return dict(
        processor=_processor(),
        cpus=usable_cpus(),
        threads=torch.get_num_threads(),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        system=platform.platform(terse=True),
        python=platform.python_version(),
        load_average=[round(number, 2) for number in load],
        **{name: _version(name) for name in ("torch", "mmcv", "mmdet", "numpy")},
    )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*:\s*(.+)", info.read_text()) if info.is_file() else []
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{names[0] if names else platform.processor()} ({capability})"


def _version(name: str) -> str | None:
    for distribution in (name, f"onedl-{name}", "onedl-mmdetection" if name == "mmdet" else name):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return None


def print_table(rows: Sequence[TimedCase], peer: str) -> None:
    """Times as median (min to max) in milliseconds, peak memory in MiB."""
    head = ("case", "ours ms", f"{peer} ms", "ratio", "ours MiB", f"{peer} MiB")
    lines = [head]
    for row in rows:
        lines.append(
            (
                row.case,
                _milliseconds(row.ours),
                _milliseconds(row.peer),
                f"{row.ratio:.2f}",
                _mib(row.ours),
                _mib(row.peer),
            )
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    for line in lines:
        first, *others = (text.rjust(width) for text, width in zip(line, widths, strict=True))
        print(line[0].ljust(len(first)), *others, sep="  ")


def _milliseconds(timing: Timing) -> str:
    return f"{timing.median * 1e3:.1f} ({timing.min * 1e3:.1f} to {timing.max * 1e3:.1f})"


def _mib(timing: Timing) -> str:
    return "-" if timing.peak_mib is None else f"{timing.peak_mib:.0f}"


def write_json(path: Path, rows: Sequence[TimedCase], peer: str, state: dict[str, Any]) -> None:
    """``{"machine": ..., "rows": [{"case", "ours", "peer", "ratio", ...}]}``, times in seconds."""
    content = dict(
        machine=state,
        peer=peer,
        rows=[
            dict(
                case=row.case,
                ours=asdict(row.ours),
                peer=asdict(row.peer),
                ratio=row.ratio,
                **row.notes,
            )
            for row in rows
        ],
    )
    write_whole(path, json.dumps(content, indent=2) + "\n")
    print(f"written: {path}")


def add_measuring_options(parser: argparse.ArgumentParser, repeats: int) -> None:
    """Options of every comparison."""
    parser.add_argument(
        "--repeats", type=int, default=repeats, help="timed runs of each row (%(default)s)"
    )
    parser.add_argument(
        "--threads", type=int, help="CPU threads of torch (default: torch's choice)"
    )
    parser.add_argument(
        "--no-memory",
        action="store_true",
        help="do not measure peak memory, which needs another run of each row in its own process",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write the figures to this file"
    )


def compare(
    args: argparse.Namespace, peer: str, measure: Callable[[argparse.Namespace], list[TimedCase]]
) -> None:
    """Run a subcommand: measure, print the table, write the JSON file that was asked for.

    Raises:
        UserError: ``--repeats`` or ``--threads`` below 1.
    """
    if args.repeats < 1 or (args.threads is not None and args.threads < 1):
        raise UserError(
            f"--repeats and --threads must be positive, got {args.repeats}, {args.threads}."
        )
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    state = machine()
    rows = measure(args)
    state["load_average_after"] = [round(load, 2) for load in os.getloadavg()]
    print(", ".join(f"{name} {value}" for name, value in state.items() if value is not None))
    print_table(rows, peer)
    print("time: median (min to max); ratio: median time of the peer / ours")
    if args.json is not None:
        write_json(args.json, rows, peer, state)


def show_progress(text: str) -> None:
    """Overwrite one line, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)

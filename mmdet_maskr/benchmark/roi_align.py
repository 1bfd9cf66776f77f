"""RoIAlign of our extractor against mmdet's extractor with mmcv's op, on one image's pyramid."""

from __future__ import annotations

import argparse
import cProfile
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from torch import Tensor

from mmdet_maskr.benchmark.measure import (
    TimedCase,
    add_measuring_options,
    compare,
    peak_mib,
    time_in_turn,
)
from mmdet_maskr.errors import UserError
from mmdet_maskr.models import LevelRoIExtractor

STRIDES = (4, 8, 16, 32)
PEER = "mmcv"


@dataclass(frozen=True)
class Case:
    """RoIs on a feature pyramid; ``backward`` adds the gradient of the features."""

    name: str
    rois: int
    bins: int
    channels: int = 256
    image: tuple[int, int] = (800, 1333)
    batch: int = 1
    backward: bool = True

    @property
    def label(self) -> str:
        """Such as 'box: 512 RoIs 7x7, C 256'."""
        return f"{self.name}: {self.rois} RoIs {self.bins}x{self.bins}, C {self.channels}"


CASES = (
    Case("box", 512, 7),
    Case("mask", 128, 14),
    Case("box, no grad", 1000, 7, backward=False),
    Case("mini", 512, 7, channels=64, image=(160, 160), batch=8),
)


def random_rois(case: Case, seed: int = 0) -> Tensor:
    """(N, 5) boxes within the image, with sides from 16 to 3/4 of it, small ones more often."""
    generator = torch.Generator().manual_seed(seed)
    height, width = case.image
    side = 16 * (0.75 * height / 16) ** torch.rand(case.rois, generator=generator)
    aspect = torch.exp(torch.rand(case.rois, generator=generator) * math.log(4) - math.log(2))
    size = torch.stack([side * aspect.sqrt(), side / aspect.sqrt()], dim=1)
    limits = torch.tensor([width, height])
    size = size.minimum(limits - 1)
    corner = torch.rand(case.rois, 2, generator=generator) * (limits - size)
    image = torch.randint(case.batch, (case.rois, 1), generator=generator)
    return torch.cat([image, corner, corner + size], dim=1)


def pyramid(case: Case, memory_format: torch.memory_format) -> list[Tensor]:
    """Maps of the image padded to a multiple of 32."""
    generator = torch.Generator().manual_seed(1)
    height, width = (math.ceil(side / 32) * 32 for side in case.image)
    return [
        torch.randn(case.batch, case.channels, height // s, width // s, generator=generator)
        .contiguous(memory_format=memory_format)
        .requires_grad_(case.backward)
        for s in STRIDES
    ]


def contender(case: Case, name: str, channels_last: bool) -> Callable[[], tuple[float, list]]:
    """A function that pools once; it gives the seconds, and the result with its gradients."""
    extractor = dict(ours=LevelRoIExtractor, mmcv=SingleRoIExtractor)[name](
        roi_layer=dict(type="RoIAlign", output_size=case.bins, sampling_ratio=0),
        out_channels=case.channels,
        featmap_strides=list(STRIDES),
    )
    maps = pyramid(case, torch.channels_last if channels_last else torch.contiguous_format)
    rois = random_rois(case)
    generator = torch.Generator().manual_seed(2)
    grad = torch.randn(case.rois, case.channels, case.bins, case.bins, generator=generator)
    if channels_last:
        grad = grad.contiguous(memory_format=torch.channels_last)

    def run() -> tuple[float, list[Tensor]]:
        for level in maps:
            level.grad = None
        start = time.perf_counter()
        pooled = extractor(maps, rois)
        if case.backward:
            pooled.backward(grad)
        seconds = time.perf_counter() - start
        return seconds, [pooled.detach(), *(level.grad for level in maps)]

    return run


def prepare_for_peak(case: Case, name: str, channels_last: bool) -> Callable[[], object]:
    """The work whose memory counts, after a tiny run of it; see :func:`.measure.peak_mib`."""
    tiny = Case("tiny", 2, case.bins, 16, (64, 64), backward=case.backward)
    contender(tiny, name, channels_last)()
    return contender(case, name, channels_last)


def add_roi_align(subparsers: argparse._SubParsersAction) -> None:
    """Add the subcommand roi-align."""
    parser = subparsers.add_parser(
        "roi-align",
        help="the RoI extractor, compared with mmdet's with mmcv's RoIAlign",
        description=(
            "Times forward and backward of RoIAlign (average, sampling ratio 0) on the "
            "FPN maps of an 800x1333 image, as the box and mask branches use it. mmcv "
            "supports only NCHW: the channels_last rows compare with mmcv on NCHW maps "
            "with the same values."
        ),
        epilog="example: maskr benchmark roi-align --repeats 11 --json roi_align.json",
    )
    add_measuring_options(parser, repeats=7)
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="run only cases with TEXT in their names"
    )
    parser.add_argument(
        "--profile", action="store_true", help="then profile our code by Python function"
    )
    parser.set_defaults(run=lambda args: compare(args, PEER, measure))


def measure(args: argparse.Namespace) -> list[TimedCase]:
    """Rows for the cases that are asked for, NCHW and channels_last.

    Raises:
        UserError: no case has the name asked for.
    """
    cases = [case for case in CASES if args.only in case.label]
    if not cases:
        raise UserError(f"no case has {args.only!r} in its name: {[case.label for case in CASES]}.")
    rows = [row for case in cases for row in measure_case(case, args.repeats, not args.no_memory)]
    if args.profile:
        for case in cases:
            for channels_last in (False, True):
                print_profile(case, channels_last)
    return rows


def measure_case(case: Case, repeats: int, memory: bool) -> list[TimedCase]:
    """Two rows, for NCHW and channels_last maps."""
    print(f"{case.label} ...", flush=True)
    runs = {
        "ours": contender(case, "ours", False),
        "ours, channels_last": contender(case, "ours", True),
        PEER: contender(case, PEER, False),
    }
    results = {name: run()[1] for name, run in runs.items()}
    timings = time_in_turn({name: partial(_seconds, run) for name, run in runs.items()}, repeats)
    threads = torch.get_num_threads()
    if memory:
        timings[PEER].peak_mib = peak_mib(prepare_for_peak, case, PEER, False, threads=threads)
    rows = []
    for name, channels_last in (("ours", False), ("ours, channels_last", True)):
        if memory:
            timings[name].peak_mib = peak_mib(
                prepare_for_peak, case, "ours", channels_last, threads=threads
            )
        layout = "channels_last" if channels_last else "NCHW"
        difference = _differences(results[name], results[PEER])
        rows.append(TimedCase(f"{case.label} {layout}", timings[name], timings[PEER], difference))
    return rows


def _seconds(run: Callable[[], tuple[float, object]]) -> float:
    return run()[0]


def print_profile(case: Case, channels_last: bool, runs: int = 5, lines: int = 14) -> None:
    """Print where the time of our op goes, on one thread."""
    run = contender(case, "ours", channels_last)
    run()
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # the profiler sees only its own thread
    profiler = cProfile.Profile()
    profiler.enable()
    for _ in range(runs):
        run()
    profiler.disable()
    torch.set_num_threads(before)
    print(f"\n{case.label}, {'channels_last' if channels_last else 'NCHW'}, one thread:")
    profiler.create_stats()
    entries = sorted(profiler.stats.items(), key=lambda entry: -entry[1][2])
    for (file, _, function), (_, calls, own, _, _) in entries[:lines]:
        where = f"{Path(file).name}:{function}" if file != "~" else function
        print(f"  {own / runs * 1e3:9.2f} ms {calls // runs:6d} x {where}")


def _differences(ours: list[Tensor], peer: list[Tensor]) -> dict[str, float]:
    differences = dict(max_difference=float((ours[0] - peer[0]).abs().max()))
    if peer[1] is not None:
        differences["max_relative_gradient_difference"] = max(
            float((a - b).abs().max() / b.abs().max())
            for a, b in zip(ours[1:], peer[1:], strict=True)
        )
    return differences

"""Decoding keypoints from heatmaps against the plain loop that enlarges every map."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from mmdet_maskr.benchmark.measure import (
    TimedCase,
    add_measuring_options,
    compare,
    peak_mib,
    time_in_turn,
    timed,
)
from mmdet_maskr.errors import UserError
from mmdet_maskr.ops import decode_heatmaps

PEER = "loop"
SIZE = 56  # of a heatmap, as Detectron2's head gives it


def add_keypoint_decode(subparsers: argparse._SubParsersAction) -> None:
    """Add the subcommand keypoint-decode."""
    parser = subparsers.add_parser(
        "keypoint-decode",
        help=(
            "keypoint decoding, compared with a loop that enlarges every heatmap, as "
            "Detectron2's does"
        ),
        description=(
            "Times the decoding of keypoints from heatmaps of 56 x 56, for boxes whose "
            "sides are uniform between two lengths. The comparison is a loop that "
            "enlarges the K maps of one box at a time (F.interpolate, bicubic) and "
            "takes the largest pixel, as Detectron2's does, without its exponential of "
            "all pixels. Points must be equal."
        ),
        epilog="example: maskr benchmark keypoint-decode --sides 300 800 --threads 2",
    )
    add_measuring_options(parser, repeats=5)
    parser.add_argument("--boxes", type=int, default=100, help="RoIs (%(default)s)")
    parser.add_argument("--keypoints", type=int, default=17, metavar="K", help="(%(default)s)")
    parser.add_argument(
        "--sides",
        type=float,
        nargs=2,
        action="append",
        metavar=("LOW", "HIGH"),
        help="sides of the boxes in pixels; may be repeated (default: 20 to 200, and 300 to 800)",
    )
    parser.add_argument(
        "--kinds",
        nargs="+",
        choices=list(HEATMAPS),
        default=list(HEATMAPS),
        help="kinds of heatmaps (default: all)",
    )
    parser.set_defaults(run=lambda args: compare(args, PEER, measure))


def measure(args: argparse.Namespace) -> list[TimedCase]:
    """A row for each range of sides and kind of heatmap.

    Raises:
        UserError: an option is out of range, or a point differs from the loop's.
    """
    ranges = args.sides or [[20.0, 200.0], [300.0, 800.0]]
    if min(args.boxes, args.keypoints) < 1:
        raise UserError(
            f"--boxes and --keypoints must be positive, got {args.boxes}, {args.keypoints}."
        )
    for low, high in ranges:
        if not 0 < low <= high < float("inf"):
            raise UserError(f"--sides must be 0 < LOW <= HIGH, got {low:g} {high:g}.")
    rows = []
    for low, high in ranges:
        for kind in args.kinds:
            case = f"{kind}, {args.boxes} boxes of {low:g} to {high:g}, K {args.keypoints}"
            print(f"{case} ...", flush=True)
            inputs = (kind, args.boxes, args.keypoints, low, high)
            runs = {name: decode_run(name, *inputs) for name in DECODERS}
            (points, logits, scores), (peer_points, peer_logits, peer_scores) = (
                runs["ours"](),
                runs[PEER](),
            )
            different = int((points != peer_points).any(2).sum())
            if different:
                raise UserError(f"{case}: {different} of {logits.numel()} points differ.")
            notes = dict(
                equal_points=logits.numel(),
                max_logit_difference=float((logits - peer_logits).abs().max()),
                max_score_difference=float((scores - peer_scores).abs().max()),
            )
            timings = time_in_turn(
                {name: partial(timed, run) for name, run in runs.items()}, args.repeats
            )
            if not args.no_memory:
                for name in DECODERS:
                    timings[name].peak_mib = peak_mib(
                        prepare_for_peak, name, *inputs, threads=torch.get_num_threads()
                    )
            rows.append(TimedCase(case, timings["ours"], timings[PEER], notes))
    print("all points are equal")
    return rows


def decode_by_loop(logits: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Points (N, K, 2), logits and scores (N, K) of (N, K, S, S) heatmaps, one RoI at a time."""
    count, keypoints = logits.shape[:2]
    points = logits.new_zeros(count, keypoints, 2)
    peaks, scores = logits.new_zeros(count, keypoints), logits.new_zeros(count, keypoints)
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1)
    pixels = sides.ceil()
    for i in range(count):
        width, height = (int(side) for side in pixels[i])
        enlarged = F.interpolate(
            logits[i : i + 1], size=(height, width), mode="bicubic", align_corners=False
        )[0].flatten(1)
        index = enlarged.argmax(1)
        peaks[i] = enlarged.gather(1, index[:, None])[:, 0]
        scores[i] = 1 / (logits[i] - peaks[i, :, None, None]).exp().sum((1, 2))
        at = torch.stack([index % width, index // width], dim=1).float()
        points[i] = (at + 0.5) * (sides[i] / pixels[i]) + boxes[i, :2]
    return points, peaks, scores


DECODERS = dict(ours=decode_heatmaps, loop=decode_by_loop)


def decode_run(
    name: str, kind: str, boxes: int, keypoints: int, low: float, high: float
) -> Callable[[], tuple[Tensor, Tensor, Tensor]]:
    """A function that decodes once."""
    generator = torch.Generator().manual_seed(0)
    heatmaps = HEATMAPS[kind](boxes, keypoints, generator)
    corner = 500 * torch.rand(boxes, 2, generator=generator)
    sides = low + (high - low) * torch.rand(boxes, 2, generator=generator)
    rois = torch.cat([corner, corner + sides], dim=1)

    @torch.no_grad()
    def run() -> tuple[Tensor, Tensor, Tensor]:
        return DECODERS[name](heatmaps, rois)

    return run


def prepare_for_peak(
    name: str, kind: str, boxes: int, keypoints: int, low: float, high: float
) -> Callable[[], object]:
    """The work whose memory counts, after a tiny run of it; see :func:`.measure.peak_mib`."""
    decode_run(name, kind, 1, 2, 200, 200)()  # libraries and threads come up
    return decode_run(name, kind, boxes, keypoints, low, high)


def _blobs(count: int, keypoints: int, generator: torch.Generator) -> Tensor:
    """A Gaussian of 10 and some noise, as a trained head's: (N, K, S, S)."""
    center = SIZE * torch.rand(count, keypoints, 2, 1, 1, generator=generator)
    sigma = 1 + 4 * torch.rand(count, keypoints, 1, 1, generator=generator)
    at = torch.arange(SIZE) + 0.5
    distance = (at - center[:, :, 0]) ** 2 + (at[:, None] - center[:, :, 1]) ** 2
    noise = torch.randn(count, keypoints, SIZE, SIZE, generator=generator)
    return 10 * (-distance / (2 * sigma**2)).exp() - 5 + 0.1 * noise


def _smooth(count: int, keypoints: int, generator: torch.Generator) -> Tensor:
    """Hills without a clear winner, as an untrained head's."""
    coarse = 3 * torch.randn(count, keypoints, 8, 8, generator=generator)
    return F.interpolate(coarse, size=SIZE, mode="bicubic")


def _noise(count: int, keypoints: int, generator: torch.Generator) -> Tensor:
    return torch.randn(count, keypoints, SIZE, SIZE, generator=generator)


HEATMAPS = dict(blobs=_blobs, smooth=_smooth, noise=_noise)

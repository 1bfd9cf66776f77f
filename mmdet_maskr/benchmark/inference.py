"""Detection of one image: our model as it is, optimized and compiled, against stock mmdet's."""

from __future__ import annotations

import argparse
import copy
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.hub import get_config
from mmengine.structures import InstanceData
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mmdet_maskr.benchmark.measure import (
    TimedCase,
    Timing,
    add_measuring_options,
    compare,
    now,
    on_device,
    peak_mib,
    time_in_turn,
)
from mmdet_maskr.benchmark.random_model import (
    PEER,
    STOCK,
    batch_of,
    build,
    calibrate,
    our_config,
    read_photo,
    synthetic_photo,
)
from mmdet_maskr.coco.pairing import pair_up
from mmdet_maskr.deploy import optimize
from mmdet_maskr.deploy.optimization import PRECISIONS
from mmdet_maskr.errors import UserError
from mmdet_maskr.ops.mask_rle import RLEMasks

FORMS = ("ours", "optimized", "compiled")
EXACT = dict(box=0.01, score=1e-5, mask=1e-4)  # pixels; probability; share of the masks' pixels
PEAK_SIDE = 3072  # of the matrices whose product is the yardstick


@dataclass(frozen=True)
class Setting:
    """A model, and whether stock mmdet has the same."""

    label: str
    config: str
    stock_config: str | None = None


SETTINGS = dict(
    r50=Setting("R50-FPN", "maskr_r50_fpn.py", STOCK),
    c4=Setting("R50-C4", "maskr_r50_c4.py"),
    c5=Setting("R50-C5", "maskr_r50_c5.py"),
    keypoint=Setting("R50-FPN with keypoints", "maskr_keypoint_r50_fpn.py"),
    mini=Setting("mini model", "maskr_mini_fpn.py"),
)
# What is timed within a detection: the name in the table, the module, its method, without the time
# of another part in it.
PARTS = (
    ("backbone", "", "extract_feat"),
    ("RPN", "rpn_head", "predict"),
    ("boxes", "roi_head", "predict_bbox"),
    ("masks", "roi_head", "_mask_forward"),
    ("paste", "roi_head", "predict_mask"),
    ("keypoints", "roi_head", "predict_keypoint"),
)


def model_config(setting: Setting, name: str) -> ConfigDict:
    """Config of a contender."""
    if name.startswith(PEER):
        return get_config(setting.stock_config).model
    return our_config(setting.config)


@dataclass
class Contender:
    """A form of a model that detects on one image."""

    name: str
    model: nn.Module
    batch: dict
    found: InstanceData | None = None
    parts: dict[str, list[float]] = field(default_factory=dict)
    _inner: float = field(default=0.0, init=False)  # seconds of parts within the one that runs

    def __post_init__(self) -> None:
        self.device = next(self.model.parameters()).device
        for part, path, method in PARTS:
            module = self.model
            for step in filter(None, path.split(".")):
                module = getattr(module, step, None)
            if getattr(module, method, None) is not None:
                setattr(module, method, self._clocked(part, getattr(module, method)))

    def _clocked(self, part: str, method: Callable) -> Callable:
        def run(*args, **kwargs):
            outer, self._inner = self._inner, 0.0
            start = now(self.device)
            result = method(*args, **kwargs)
            taken = now(self.device) - start
            self._current[part] = self._current.get(part, 0.0) + taken - self._inner
            self._inner = outer + taken
            return result

        return run

    @torch.no_grad()
    def __call__(self) -> float:
        """Seconds of one detection."""
        batch = copy.deepcopy(self.batch)
        self._current: dict[str, float] = {}
        self._inner = 0.0
        start = now(self.device)
        samples = self.model.test_step(batch)
        seconds = now(self.device) - start
        self.found = samples[0].pred_instances
        for part, taken in self._current.items():
            self.parts.setdefault(part, []).append(taken)
        self.parts.setdefault("rest", []).append(seconds - sum(self._current.values()))
        return seconds

    def breakdown(self, repeats: int) -> dict[str, float]:
        """Median seconds of each part in the last ``repeats`` runs."""
        return {part: statistics.median(taken[-repeats:]) for part, taken in self.parts.items()}


def in_form(model: nn.Module, form: str, autocast: str | None) -> nn.Module:
    """A model of ours in one of the :data:`FORMS`."""
    if form == "ours":
        return model
    masks = "rle" if model.roi_head.with_mask else None
    return optimize(model, compile=form == "compiled", masks=masks, autocast=autocast)


def contenders(setting: Setting, args: argparse.Namespace) -> dict[str, Contender]:
    """Stock mmdet's model where there is one, and the forms that were asked for."""
    photo = (
        synthetic_photo(*args.size) if args.image is None else read_photo(args.image, *args.size)
    )
    batch = batch_of(photo)
    ours = build(model_config(setting, "ours"))
    count = calibrate(ours, batch)
    print(f"{setting.label}: {count} boxes pass the score threshold", flush=True)
    weights = ours.state_dict()
    ours.to(args.device)
    found = {}
    for form in dict.fromkeys(("ours", *args.forms)):
        model = ours if form == "ours" else in_form(ours, form, None)
        found[form] = model
        if args.autocast is not None and form != "ours":
            found[f"{form}, {args.autocast}"] = in_form(ours, form, args.autocast)
    if setting.stock_config is not None:
        stock = build(model_config(setting, PEER))
        stock.load_state_dict(weights, strict=True)
        found[PEER] = stock.to(args.device)
    return {name: Contender(name, copy.deepcopy(model) if name == "ours" else model, batch)
            for name, model in found.items()}  # fmt: skip


def differences(found: InstanceData, reference: InstanceData) -> dict[str, float]:
    """How far detections are from the reference's, each from the nearest of its class.

    Returns:
        ``box`` in pixels and ``score``, the largest; ``mask``, differing pixels as a share of the
        reference's mask pixels; ``unmatched`` detections, which have no partner within a pixel.
    """
    a, b = reference.cpu(), found.cpu()
    distance = (a.bboxes[:, None] - b.bboxes).abs().amax(-1)
    close = ((distance < 1.0) & (a.labels[:, None] == b.labels)).numpy()
    pairs = pair_up(np.argwhere(close), -distance.numpy()[close])
    i, j = torch.from_numpy(pairs).T
    result = dict(unmatched=float(max(len(a), len(b)) - len(pairs)), box=0.0, score=0.0)
    if len(pairs):
        result["box"] = float(distance[i, j].max())
        result["score"] = float((a.scores[i] - b.scores[j]).abs().max())
    if "masks" in a:
        ours, theirs = _arrays(b.masks), _arrays(a.masks)
        differing = sum(int((theirs[i] != ours[j]).sum()) for i, j in pairs)
        result["mask"] = differing / max(1, int(theirs.sum()))
    return result


def _arrays(masks: torch.Tensor | RLEMasks) -> np.ndarray:
    return masks.astype(bool) if isinstance(masks, RLEMasks) else masks.numpy().astype(bool)


def count_flops(contender: Contender) -> float:
    """Floating-point operations of convolutions and matrix products in a detection."""
    with FlopCounterMode(display=False) as counter:
        contender()
    return float(counter.get_total_flops())


def matrix_product(device: torch.device) -> Callable[[], float]:
    """A function that multiplies two matrices once and gives the seconds."""
    matrix = torch.randn(PEAK_SIDE, PEAK_SIDE, device=device)
    out = torch.empty_like(matrix)

    def run() -> float:
        start = now(device)
        torch.mm(matrix, matrix, out=out)
        return now(device) - start

    return run


def add_inference(subparsers: argparse._SubParsersAction) -> None:
    """Add the subcommand inference."""
    parser = subparsers.add_parser(
        "inference",
        help="detection on one image, optimized and compiled, compared with stock mmdet",
        description=(
            "Times detection from the image to masks in the image: our model without "
            "optimization, with mmdet_maskr.deploy.optimize, and also compiled. It "
            "compares them with mmdet's mask-rcnn_r50_fpn with the same weights (other "
            "models: with ours without optimization). Weights are random, with batch "
            "normalization statistics and a classifier for which about 1000 boxes pass "
            "the score threshold. Fails if an exact form differs from our model without "
            "optimization by more than 0.01 pixels in a box, 1e-5 in a score or 0.01 % "
            "of the mask pixels."
        ),
        epilog="example: maskr benchmark inference --models r50 --threads 2 --repeats 9",
    )
    add_measuring_options(parser, repeats=5)
    parser.add_argument("--models", nargs="+", choices=list(SETTINGS), default=["r50"])
    parser.add_argument(
        "--forms",
        nargs="+",
        choices=FORMS,
        default=list(FORMS),
        help="forms of the model to time (default: all)",
    )
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        default=(800, 1333),
        metavar=("H", "W"),
        help="size of the image",
    )
    parser.add_argument("--image", type=Path, help="a photo, resized to --size (default: noise)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (%(default)s)")
    parser.add_argument(
        "--autocast", choices=list(PRECISIONS), help="also the optimized forms in this precision"
    )
    parser.set_defaults(run=lambda args: compare(args, PEER, measure))


def measure(args: argparse.Namespace) -> list[TimedCase]:
    """A row for each form of each model.

    Raises:
        UserError: an image that is too small, or no GPU for ``--device cuda``.
    """
    if min(args.size) < 32:
        raise UserError(f"--size must be at least 32 by 32 pixels, got {tuple(args.size)}.")
    on_device(args.device)
    return [row for name in args.models for row in measure_setting(SETTINGS[name], args)]


def measure_setting(setting: Setting, args: argparse.Namespace) -> list[TimedCase]:
    """Rows of one model.

    Raises:
        UserError: an exact form differs from our model by more than :data:`EXACT`.
    """
    runs: dict[str, Any] = dict(contenders(setting, args))
    first = {name: run() for name, run in runs.items()}  # compiles
    device = runs["ours"].device
    timings = time_in_turn({**runs, "product": matrix_product(device)}, args.repeats)
    apart = {name: differences(run.found, runs["ours"].found) for name, run in runs.items()}
    broken = {
        name: found
        for name, found in apart.items()
        if name in FORMS and (found["unmatched"] or any(found.get(k, 0) > EXACT[k] for k in EXACT))
    }
    breakdowns = {name: run.breakdown(args.repeats) for name, run in runs.items()}
    flops = count_flops(runs["ours"])
    peak = 2 * PEAK_SIDE**3 / timings.pop("product").min
    peer = PEER if PEER in runs else "ours"
    detections = len(runs["ours"].found)
    del runs
    if not args.no_memory:
        _add_peaks(timings, setting, args)
    rows = []
    for name, timing in timings.items():
        notes = dict(
            parts=breakdowns[name],
            share_of_peak=flops / timing.median / peak,
            differences=apart[name],
            first_call=first[name],
        )
        rows.append(TimedCase(f"{setting.label}, {name}", timing, timings[peer], notes))
    print(
        f"{setting.label}, {detections} detections, {flops / 1e9:.0f} GFLOP; "
        f"peak {peak / 1e9:.0f} GFLOP/s (product of {PEAK_SIDE} x {PEAK_SIDE} matrices)"
    )
    _print_parts(rows)
    if broken:
        raise UserError(
            f"{setting.label}: detections differ from the unoptimized model's: {broken}; allowed "
            f"are {EXACT}."
        )
    return rows


def _add_peaks(timings: dict[str, Timing], setting: Setting, args: argparse.Namespace) -> None:
    """Peak memory of each form, but for compiled ones, whose compilation would count."""
    for name, timing in timings.items():
        if not name.startswith("compiled"):
            timing.peak_mib = peak_mib(
                prepare_for_peak,
                setting,
                name,
                (args.size, args.image, args.device),
                threads=torch.get_num_threads(),
            )


def prepare_for_peak(setting: Setting, name: str, options: tuple) -> Callable[[], Any]:
    """A detection of one form in a process of its own, after one on a smaller image."""
    size, image, device = options
    form, _, precision = name.partition(", ")
    alone = argparse.Namespace(size=size, image=image, device=device, autocast=precision or None)
    alone.forms = [form] if form in FORMS else []
    chosen = contenders(setting, alone)[name]
    batch = chosen.batch
    chosen.batch = batch_of(synthetic_photo(128, 128))
    chosen()
    chosen.batch = batch
    return chosen


def _print_parts(rows: list[TimedCase]) -> None:
    """Seconds by part, and what the results differ by."""
    names = list(dict.fromkeys(part for row in rows for part in row.notes["parts"]))
    width = max(len(row.case) for row in rows)
    print(" " * width, *(f"{name:>9}" for name in names), "  of peak", "  box px    score   masks")
    for row in rows:
        parts, apart = row.notes["parts"], row.notes["differences"]
        print(
            row.case.ljust(width),
            *(f"{parts[name]:9.3f}" if name in parts else " " * 8 + "-" for name in names),
            f"{row.notes['share_of_peak']:9.0%}",
            f"{apart['box']:8.1g} {apart['score']:8.1g} {apart.get('mask', 0):7.1g}",
        )
    print("parts: median seconds; differences from our model without optimization")

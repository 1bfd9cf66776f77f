"""The mask branch against mmdet's: time and memory of the head; pasting, encoding, targets."""

from __future__ import annotations

import argparse
import ctypes
import gc
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask
from mmdet.structures.mask import BitmapMasks, encode_mask_results, mask_target
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from torch import Tensor

from mmdet_maskr.benchmark.measure import (
    MIB,
    TimedCase,
    Timing,
    add_measuring_options,
    compare,
    peak_mib,
    time_in_turn,
    timed,
)
from mmdet_maskr.errors import UserError
from mmdet_maskr.models import ComposedMaskHead
from mmdet_maskr.ops.mask_paste import paste_masks
from mmdet_maskr.ops.mask_rle import encode_masks
from mmdet_maskr.ops.mask_targets import mask_targets

PEER = "mmdet"
HEADS = dict(ours=ComposedMaskHead, mmdet=FCNMaskHead)
ROIS = dict(training=256, inference=100)
M_MMAP_THRESHOLD = -3  # of glibc's malloc.h
NOT_RUN = Timing(math.nan, math.nan, math.nan)


def add_mask_head(subparsers: argparse._SubParsersAction) -> None:
    """Add the subcommand mask-head."""
    parser = subparsers.add_parser(
        "mask-head",
        help="the mask head, compared with mmdet's FCNMaskHead, by number of classes",
        description=(
            "Times the mask head of FPN models on random RoI features (N, 256, 14, 14): "
            "training on 256 RoIs (forward, loss, backward), and inference on 100 RoIs "
            "(forward, sigmoid of the detected class, as in mmdet)."
        ),
        epilog="example: maskr benchmark mask-head --classes 80 1203 --json head.json",
    )
    add_measuring_options(parser, repeats=5)
    parser.add_argument("--classes", type=int, nargs="+", default=[80, 1203, 10000], metavar="K")
    parser.add_argument("--modes", nargs="+", choices=list(ROIS), default=list(ROIS))
    parser.set_defaults(run=lambda args: compare(args, PEER, measure_heads))


def add_mask_paste(subparsers: argparse._SubParsersAction) -> None:
    """Add the subcommand mask-paste."""
    parser = subparsers.add_parser(
        "mask-paste",
        help="mask pasting, RLE encoding and mask targets, compared with mmdet's",
        description=(
            "Times the pasting of 28 x 28 masks into an image, dense and as COCO RLEs "
            "(mmdet: paste, then encode), and the computation of mask targets from "
            "bitmaps. Results are compared first."
        ),
        epilog="example: maskr benchmark mask-paste --threads 1",
    )
    add_measuring_options(parser, repeats=9)
    parser.add_argument("--masks", type=int, default=100, help="detections (%(default)s)")
    parser.add_argument("--rois", type=int, default=128, help="positive RoIs (%(default)s)")
    parser.add_argument("--gts", type=int, default=15, help="ground truths (%(default)s)")
    parser.add_argument("--image", type=int, nargs=2, default=[800, 1333], metavar=("H", "W"))
    parser.add_argument(
        "--check",
        type=int,
        default=1000,
        help="number of random masks whose RLEs are compared (%(default)s)",
    )
    parser.set_defaults(run=lambda args: compare(args, PEER, measure_pasting))


# mask-head -----------------------------------------------------------------------------------


def measure_heads(args: argparse.Namespace) -> list[TimedCase]:
    """A row for each mode and number of classes.

    Raises:
        UserError: ``--classes`` below 1.
    """
    if min(args.classes) < 1:
        raise UserError(f"--classes must be positive, got {args.classes}.")
    rows = []
    for mode in args.modes:
        peaks: list[float] = []
        for classes in args.classes:
            case = f"{mode}, {ROIS[mode]} RoIs, K {classes}"
            print(f"{case} ...", flush=True)
            # logits, their gradients or sigmoids, and a temporary of the same size
            needed = 3 * 4 * ROIS[mode] * classes * 28 * 28
            fits = needed < _available_memory()
            names = list(HEADS) if fits else ["ours"]
            runs = {name: head_run(name, mode, classes) for name in names}
            timings = time_in_turn(
                {name: partial(timed, run) for name, run in runs.items()}, args.repeats
            )
            del runs
            notes = {}
            if not args.no_memory:
                for name in names:
                    timings[name].peak_mib = peak_mib(
                        prepare_for_peak, name, mode, classes, threads=torch.get_num_threads()
                    )
                peaks.append(timings["ours"].peak_mib or 0.0)
                notes["peak_growth"] = peaks[-1] / peaks[0]
                print(f"  our peak memory is {peaks[-1] / peaks[0]:.2f} of K {args.classes[0]}")
            if not fits:
                print(f"  {PEER} was not run (nan): it needs about {needed / MIB:.0f} MiB")
            rows.append(TimedCase(case, timings["ours"], timings.get(PEER, NOT_RUN), notes))
    return rows


def head_run(name: str, mode: str, classes: int) -> Callable[[], None]:
    """One step of training, or inference, of a head of FPN's size on random input."""
    init_default_scope("mmdet")
    torch.manual_seed(0)
    head = HEADS[name](num_classes=classes)
    count = ROIS[mode]
    x = torch.randn(count, 256, 14, 14, requires_grad=mode == "training")
    labels = torch.randint(classes, (count,))
    targets = (torch.rand(count, 28, 28) > 0.5).float()

    def training() -> None:
        head.zero_grad()
        if name == "ours":
            loss = head.predictor.loss(head.loss_mask, head(x, labels), targets, labels)
        else:
            loss = head.loss_mask(head(x), targets, labels)
        loss.sum().backward()

    @torch.no_grad()
    def inference() -> None:
        if name == "ours":
            head.predictor.probabilities(head(x, labels), labels)
        else:  # as in FCNMaskHead._predict_by_feat_single
            head(x).sigmoid()[range(count), labels]

    return training if mode == "training" else inference


def prepare_for_peak(name: str, mode: str, classes: int) -> Callable[[], None]:
    """The same in a fresh process, with an allocator that gives large tensors back at once."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, MIB)
    head_run(name, mode, 1)()  # libraries and threads come up
    run = head_run(name, mode, classes)
    gc.collect()
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
    return run


def _available_memory() -> float:
    """Bytes; without /proc/meminfo no limit is known."""
    path = Path("/proc/meminfo")
    if not path.is_file():
        return math.inf
    line = next(line for line in path.read_text().splitlines() if line.startswith("MemAvailable"))
    return 1024 * int(line.split()[1])


# mask-paste ----------------------------------------------------------------------------------


def measure_pasting(args: argparse.Namespace) -> list[TimedCase]:
    """Rows for dense masks, RLEs and targets.

    Raises:
        UserError: a result differs from mmdet's.
    """
    height, width = args.image
    same = sum(
        compare_rles(min(100, args.check - start), height, width, seed=start)
        for start in range(0, args.check, 100)
    )
    print(
        f"{same} of {args.check} RLEs of random masks, with degenerate, thin and out-of-image "
        "boxes, are those of paste + encode"
    )
    logits = random_logits(args.masks)
    boxes = random_boxes(args.masks, height, width)
    head = FCNMaskHead(num_convs=0, in_channels=1, num_classes=1, class_agnostic=True)

    def mmdet_paste() -> Tensor:
        return head._predict_by_feat_single(
            logits[:, None],
            boxes,
            torch.zeros(len(boxes), dtype=torch.long),
            dict(scale_factor=(1.0, 1.0), ori_shape=(height, width)),
            ConfigDict(mask_thr_binary=0.5),
        )

    def our_paste() -> Tensor:
        return paste_masks(logits.sigmoid(), boxes, height, width)

    def mmdet_rles() -> list[dict]:
        return encode_mask_results(mmdet_paste().numpy())

    def our_rles() -> list[dict]:
        return list(encode_masks(logits.sigmoid(), boxes, height, width))

    cases = {
        f"{args.masks} dense masks": dict(ours=our_paste, mmdet=mmdet_paste),
        f"{args.masks} RLEs": dict(ours=our_rles, mmdet=mmdet_rles),
        f"{args.rois} targets of {args.gts} bitmaps": _targets(args.rois, args.gts, height, width),
    }
    rows = []
    for case, functions in cases.items():
        ours, theirs = functions["ours"](), functions["mmdet"]()
        if not (torch.equal(ours, theirs) if isinstance(ours, Tensor) else ours == theirs):
            raise UserError(f"{case}: the results differ from mmdet's.")
        timings = time_in_turn(
            {name: partial(timed, run) for name, run in functions.items()}, args.repeats
        )
        rows.append(TimedCase(case, timings["ours"], timings["mmdet"], dict(identical_rles=same)))
    return rows


def _targets(rois: int, gts: int, height: int, width: int) -> dict[str, Callable[[], Tensor]]:
    gt_boxes = random_boxes(gts, height, width, seed=1)
    bitmaps = paste_masks(random_logits(gts, seed=1).sigmoid(), gt_boxes, height, width)
    masks = BitmapMasks(bitmaps.numpy().astype(np.uint8), height, width)
    indices = torch.arange(rois) % gts
    sides = (gt_boxes[:, 2:] - gt_boxes[:, :2]).repeat(1, 2)[indices]
    generator = torch.Generator().manual_seed(2)
    boxes = gt_boxes[indices] + 0.1 * sides * torch.randn(rois, 4, generator=generator)
    boxes[:, 2:] = boxes[:, 2:].maximum(boxes[:, :2] + 1)
    return dict(
        ours=lambda: mask_targets([boxes], [indices], [masks], 28),
        mmdet=lambda: mask_target([boxes.clone()], [indices], [masks], ConfigDict(mask_size=28)),
    )


def compare_rles(count: int, height: int, width: int, seed: int) -> int:
    """How many of ``count`` RLEs equal mmdet's paste + encode, on boxes of every unusual kind."""
    boxes = random_boxes(count, height, width, seed, clip=False)
    boxes[::10, 2] = boxes[::10, 0]  # lines and points
    boxes[1::20, 3] = boxes[1::20, 1]
    boxes[2::10, 2] = boxes[2::10, 0] + 0.3  # thin
    boxes[3::10] += torch.tensor([width, height, width, height]) * 0.6  # partly or wholly outside
    boxes[4::10] -= torch.tensor([width, height, width, height]) * 0.6
    masks = random_logits(count, seed).sigmoid()
    masks[5::10] = 0.5  # on the threshold
    same = 0
    for i, rle in enumerate(encode_masks(masks, boxes, height, width)):
        dense = np.zeros((1, height, width), np.bool_)
        x1, y1, x2, y2 = boxes[i].tolist()
        if x1 - 1 < width and y1 - 1 < height and x2 + 1 > 0 and y2 + 1 > 0:  # else mmdet fails
            values, region = _do_paste_mask(masks[i, None, None], boxes[i, None], height, width)
            dense[0, region[0], region[1]] = (values[0] >= 0.5).numpy()
        same += rle == encode_mask_results(dense)[0]
    return same


def random_logits(count: int, seed: int = 0) -> Tensor:
    """(N, 28, 28) logits of blobs with rough edges."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 1, 5, 5, generator=generator) + 0.5
    smooth = torch.nn.functional.interpolate(coarse, (28, 28), mode="bicubic")[:, 0]
    return 6 * smooth + 0.5 * torch.randn(smooth.shape, generator=generator)


def random_boxes(count: int, height: int, width: int, seed: int = 0, clip: bool = True) -> Tensor:
    """(N, 4) boxes with sides from 16 pixels to the shorter side, uniform in the logarithm."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.tensor([width, height], dtype=torch.float32)
    center = torch.rand(count, 2, generator=generator) * size
    span = math.log(min(height, width) / 16)
    half = 8 * (torch.rand(count, 2, generator=generator) * span).exp()
    boxes = torch.cat([center - half, center + half], 1)
    return boxes.clamp(min=0).minimum(size.repeat(2)) if clip else boxes

"""The cost of a training sample: by transform, and per second of data workers."""

from __future__ import annotations

import argparse
import copy
import pickle
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset, pseudo_collate
from mmengine.registry import DATASETS
from torch.utils.data import DataLoader

from mmdet_maskr.benchmark.measure import (
    TimedCase,
    Timing,
    add_measuring_options,
    compare,
    time_in_turn,
)
from mmdet_maskr.errors import UserError

PEER = "mmdet"
# mmdet's transform for each of ours
STOCK = {"LoadInstanceAnnotations": "LoadAnnotations", "PackInstanceInputs": "PackDetInputs"}
# options of the loader of masks with mmdet's transforms; with the last one RLEs are left out
MASKS: dict[str, dict | None] = {
    "ours": None,
    PEER: dict(poly2mask=True),
    "mmdet, polygons": dict(poly2mask=False),
}
ALONE = "image alone"
MB = 1e6


def add_data(subparsers: argparse._SubParsersAction) -> None:
    """Add the subcommand data."""
    parser = subparsers.add_parser(
        "data",
        help="training samples: time of each transform, images per second of data workers",
        description=(
            "Times the training pipeline of a config in one thread, and the same "
            "pipeline with mmdet's transforms (bitmaps and polygons), on the same "
            "images with the same random numbers. Also times reading and resizing of "
            "the image alone. Then prints the images per second of data workers, and "
            "the size of a sample in megabytes."
        ),
        epilog="example: maskr benchmark data --root ../shared/data/coco_mini "
        "--ann annotations/instances_val2017.json --images val2017",
    )
    add_measuring_options(parser, repeats=5)
    parser.add_argument("--config", default="configs/maskr_r50_fpn_1x.py", help="(%(default)s)")
    parser.add_argument("--root", required=True, help="folder of the dataset")
    parser.add_argument("--ann", required=True, metavar="FILE", help="annotations below the root")
    parser.add_argument("--images", required=True, metavar="FOLDER", help="images below the root")
    parser.add_argument("--limit", type=int, default=40, help="images (%(default)s)")
    parser.add_argument(
        "--workers", type=int, nargs="*", default=[1, 2], help="numbers of workers (1 2)"
    )
    parser.set_defaults(run=lambda args: compare(args, PEER, measure))


def measure(args: argparse.Namespace) -> list[TimedCase]:
    """Rows: a sample, the same by transform, and a sample of each number of workers.

    Raises:
        UserError: an option is out of range, or the config loads no masks as geometry.
    """
    if args.limit < 1 or min(args.workers, default=1) < 1:
        raise UserError(
            f"--limit and --workers must be positive, got {args.limit}, {args.workers}."
        )
    threads = cv2.getNumThreads(), torch.get_num_threads()
    try:
        cv2.setNumThreads(0)  # as in a worker
        torch.set_num_threads(1)
        return _measure({name: build(args, options) for name, options in MASKS.items()}, args)
    finally:
        cv2.setNumThreads(threads[0])
        torch.set_num_threads(threads[1])


def _measure(datasets: dict[str, BaseDataset], args: argparse.Namespace) -> list[TimedCase]:
    parts: dict[str, dict[str, list[float]]] = {name: {} for name in datasets}
    runs: dict[str, Callable[[], float]] = {}
    for name, own in datasets.items():
        runs[name] = partial(walk, own, parts[name])
    runs[ALONE] = partial(walk, datasets["ours"], {}, only_image=True)
    timings = time_in_turn(runs, args.repeats)
    ours = timings["ours"]
    over_image = ours.median / timings[ALONE].median
    sizes = {name: megabytes(own) for name, own in datasets.items()}
    notes = dict(over_image_alone=over_image, megabytes=sizes)
    rows = [TimedCase("a sample", ours, timings[PEER], notes)]
    for name, timing in timings.items():
        if name not in ("ours", PEER):
            rows.append(TimedCase(f"a sample, {name}", ours, timing))
    for step, seconds in parts["ours"].items():
        stock = parts[PEER][STOCK.get(step, step)]
        mine, theirs = (Timing.of(every[-args.repeats :]) for every in (seconds, stock))
        rows.append(TimedCase(f"- {step}", mine, theirs))
    for workers in args.workers:
        givers: dict[str, Callable[[], float]] = {}
        for name, own in datasets.items():
            givers[name] = partial(deliver, own, workers)
        found = time_in_turn(givers, repeats=max(args.repeats // 2, 1), warmup=0)
        speeds = {name: 1 / timing.median for name, timing in found.items()}
        case = f"workers {workers}, a sample"
        rows.append(TimedCase(case, found["ours"], found[PEER], dict(images_a_second=speeds)))
        print(f"{workers} workers: images a second {_listed(speeds, '.1f')}")
    print(f"a sample is {over_image:.2f} times the image alone")
    for name, size in sizes.items():
        print(f"megabytes of a sample, {name}: {_listed(size, '.3f')}")
    return rows


def build(args: argparse.Namespace, stock: dict | None) -> BaseDataset:
    """The training set of the config.

    Args:
        args: of the command.
        stock: options of the loader of masks, for mmdet's transforms in place of ours.

    Raises:
        UserError: the config has no LoadInstanceAnnotations.
    """
    cfg = copy.deepcopy(Config.fromfile(args.config).train_dataloader.dataset)
    cfg.update(data_root=str(Path(args.root)), ann_file=args.ann, indices=args.limit)
    cfg.data_prefix = dict(img=args.images)
    loaders = [step for step in cfg.pipeline if step["type"] == "LoadInstanceAnnotations"]
    if not loaders:
        raise UserError(f"{args.config}: its training pipeline has no LoadInstanceAnnotations.")
    if stock is not None:
        loaders[0].update(stock)
        for step in cfg.pipeline:
            step["type"] = STOCK.get(step["type"], step["type"])
    return DATASETS.build(cfg)


def walk(dataset: BaseDataset, parts: dict[str, list[float]], only_image: bool = False) -> float:
    """Seconds a sample of one pass; those of each transform are added to ``parts``.

    Args:
        dataset: all of it is walked through.
        parts: by name of the transform, seconds a sample of each pass.
        only_image: read and resize the image, without annotations.
    """
    spent: dict[str, float] = {}
    for index in range(len(dataset)):
        results = dataset.get_data_info(index)
        np.random.seed(index)
        for transform in dataset.pipeline.transforms:
            name = type(transform).__name__
            if only_image and "Image" not in name and "Resize" not in name:
                continue
            start = time.perf_counter()
            results = transform(results)
            spent[name] = spent.get(name, 0.0) + time.perf_counter() - start
    for name, seconds in spent.items():
        parts.setdefault(name, []).append(seconds / len(dataset))
    return sum(spent.values()) / len(dataset)


def deliver(dataset: BaseDataset, workers: int) -> float:
    """Seconds a sample that ``workers`` processes take, from the first sample that they give."""
    loader = DataLoader(dataset, batch_size=1, num_workers=workers, collate_fn=pseudo_collate)
    samples = iter(loader)
    next(samples)
    start = time.perf_counter()
    count = sum(1 for _ in samples)
    return (time.perf_counter() - start) / max(count, 1)


def megabytes(dataset: BaseDataset) -> dict[str, float]:
    """Of the image and of all besides it, on average, as they go from process to process."""
    samples = [dataset[index] for index in range(len(dataset))]
    images = [sample["inputs"].nbytes for sample in samples]
    others = [len(pickle.dumps(sample["data_samples"])) for sample in samples]
    return dict(image=float(np.mean(images)) / MB, besides=float(np.mean(others)) / MB)


def _listed(figures: Mapping[str, float], form: str) -> str:
    return ", ".join(f"{name} {value:{form}}" for name, value in figures.items())

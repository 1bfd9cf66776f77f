"""What a step asks of a GPU, counted on a CPU: launches, synchronizations, copies to the device."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import PolygonMasks
from mmengine.config import Config, ConfigDict
from mmengine.hub import get_config
from mmengine.optim import OptimWrapper
from mmengine.structures import InstanceData, PixelData
from torch import Tensor, nn

from mmdet_maskr.atomic_files import write_whole
from mmdet_maskr.bands import EIGHT_BITS
from mmdet_maskr.benchmark.pretended_gpu import Counts, on_gpu, pretended_gpu
from mmdet_maskr.benchmark.random_model import (
    PEER,
    STOCK,
    batch_of,
    build,
    calibrate,
    our_config,
    synthetic_photo,
)
from mmdet_maskr.engine.loss_guard import LossGuardHook
from mmdet_maskr.errors import UserError
from mmdet_maskr.structures.geometry_masks import GeometryMasks

CORNERS = 12  # of each object
HEAD = ("case", "launches", "syncs", "copies", "KiB")


@dataclass(frozen=True)
class Row:
    """The counts of one case."""

    case: str
    counts: Counts

    def cells(self) -> list[str]:
        """As :data:`HEAD` names them."""
        found = self.counts.totals()
        numbers = [found["launches"], found["syncs"], found["copies"], found["copied_bytes"] / 1024]
        return [self.case, *(f"{number:,.0f}" for number in numbers)]


def bands_of(model: nn.Module) -> int:
    """How many bands the images of a detector have."""
    return len(getattr(model.data_preprocessor, "mean", range(3)))


def photo_for(model: nn.Module, height: int, width: int) -> np.ndarray:
    """(H, W, bands): a synthetic photo, whose colors are repeated for further bands.

    Numbers are uint8, or float32 of 16 bits where the model's images have more than 8.
    """
    photo = synthetic_photo(height, width)[:, :, np.arange(bands_of(model)) % 3]
    return photo * np.float32(257) if _is_deep(model) else photo


def _is_deep(model: nn.Module) -> bool:
    means = getattr(model.data_preprocessor, "mean", None)
    return means is not None and float(means.max()) > EIGHT_BITS


def training_batch(
    model: nn.Module, size: tuple[int, int], objects: int, batch: int = 2, geometry: bool = True
) -> dict[str, list]:
    """What the data loader gives for training: noise with polygons.

    Args:
        model: whose classes and keypoints the objects have.
        size: height and width of the images.
        objects: of each image.
        batch: number of images.
        geometry: masks as our datasets load them; else as mmdet's PolygonMasks.
    """
    height, width = size
    rng = np.random.default_rng(0)
    bands = bands_of(model)
    inputs, samples = [], []
    for index in range(batch):
        noise = torch.from_numpy(rng.integers(256, size=(bands, *size)).astype(np.uint8))
        inputs.append(noise * 257.0 if _is_deep(model) else noise)
        sides = min(size) * (0.1 * 6 ** rng.random((objects, 2)))
        corner = rng.random((objects, 2)) * (np.array([width, height]) - sides)
        boxes = np.concatenate([corner, corner + sides], axis=1)
        angle = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
        circle = np.stack([np.cos(angle), np.sin(angle)], 1) / 2
        polygons = [[((circle + 0.5) * s + c).ravel()] for c, s in zip(corner, sides, strict=True)]
        kind = GeometryMasks if geometry else PolygonMasks
        truth = InstanceData(
            bboxes=torch.from_numpy(boxes.astype(np.float32)),
            labels=torch.from_numpy(rng.integers(_classes(model), size=objects)),
            masks=kind(polygons, height, width),
        )
        keypoints = getattr(getattr(model.roi_head, "keypoint_head", None), "num_keypoints", 0)
        if keypoints:
            place = rng.random((objects, keypoints, 2)) * sides[:, None] + corner[:, None]
            seen = np.full((objects, keypoints, 1), 2.0)
            truth.keypoints = torch.from_numpy(np.concatenate([place, seen], 2).astype(np.float32))
        meta = dict(img_id=index, img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0))
        sample = DetDataSample(metainfo=meta)
        sample.gt_instances = truth
        sample.ignored_instances = InstanceData(
            bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)
        )
        if _has_semantic_head(model):
            sample.gt_sem_seg = _semantic_map(model, size)
        samples.append(sample)
    return dict(inputs=inputs, data_samples=samples)


def _has_semantic_head(model: nn.Module) -> bool:
    parts = (model, model.roi_head)
    return any(getattr(part, "semantic_head", None) is not None for part in parts)


def _semantic_map(model: nn.Module, size: tuple[int, int]) -> PixelData:
    """Class 0 everywhere; HTC's semantic branch learns at an eighth of the size."""
    step = 8 if getattr(model.roi_head, "semantic_head", None) is not None else 1
    padded = [-(-side // 32) * 32 // step for side in size]
    return PixelData(sem_seg=torch.zeros(1, *padded, dtype=torch.long))


def _classes(model: nn.Module) -> int:
    head = model.roi_head.bbox_head
    return (head[0] if isinstance(head, nn.ModuleList) else head).num_classes


def count_training_step(
    model: nn.Module,
    data: Callable[[], dict],
    guarded: bool,
    autocast: torch.dtype | None = None,
    steps: int = 2,
) -> tuple[Counts, dict[str, float]]:
    """Counts of one training step, with the losses' numbers for the log.

    Args:
        model: on a CPU; it is moved to the pretended GPU.
        data: gives a batch of the data loader.
        guarded: whether :class:`.LossGuardHook` looks at the loss, as in our configs.
        autocast: type of mixed precision.
        steps: the last one is counted; those before it fill caches.

    Returns:
        The counts, and the losses by name.
    """
    with pretended_gpu() as counts:
        on_gpu(model).train()
        parameters = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.SGD(parameters, lr=0.0, momentum=0.9, foreach=True)
        wrapper = OptimWrapper(optimizer)
        guard = LossGuardHook()
        if guarded:
            guard.guard(model, wrapper)
        for step in range(steps):
            batch = data()
            torch.manual_seed(step)
            counts.clear()
            with torch.autocast("cuda", autocast, enabled=autocast is not None):
                outputs = model.train_step(batch, wrapper)
            # what RuntimeInfoHook does for the log
            losses = {n: v.item() if isinstance(v, Tensor) else v for n, v in outputs.items()}
        return counts, losses


def count_prediction(
    model: nn.Module, image: np.ndarray, autocast: torch.dtype | None = None, runs: int = 2
) -> tuple[Counts, DetDataSample]:
    """Counts of the detection on one image, and of one wait for its results.

    Args:
        model: on a CPU; it is moved to the pretended GPU.
        image: (H, W, 3) uint8.
        autocast: type of mixed precision.
        runs: the last one is counted.

    Returns:
        The counts, and what was found, on the CPU.
    """
    with pretended_gpu() as counts, torch.no_grad():
        on_gpu(model).eval()
        for _ in range(runs):
            batch = batch_of(image)
            counts.clear()
            with torch.autocast("cuda", autocast, enabled=autocast is not None):
                found = model.test_step(batch)[0]
            counts.sync("the results are ready")
        with counts.paused():
            return counts, found.cpu()


def add_launches(subparsers: argparse._SubParsersAction) -> None:
    """Add the subcommand launches."""
    parser = subparsers.add_parser(
        "launches",
        help="kernel launches, synchronizations and copies of a GPU, counted on a CPU",
        description=(
            "Counts on a CPU what a training step (two images) and a detection (one "
            "image) would do on a GPU: kernel launches, synchronizations (the host "
            "waits for the GPU), and copies to the device. Tensors behave like tensors "
            "on cuda:0, and an operator that mixes devices is an error. The first step "
            "fills caches and is not counted."
        ),
        epilog="example: maskr benchmark launches --sites 20",
    )
    parser.add_argument(
        "configs",
        nargs="*",
        help="config files; default: R50-FPN against stock mmdet, and R50-FPN with keypoints",
    )
    parser.add_argument(
        "--objects",
        type=int,
        nargs="+",
        default=[10, 50],
        help="objects in each image (%(default)s)",
    )
    parser.add_argument(
        "--image",
        type=int,
        nargs=2,
        default=(480, 640),
        metavar=("H", "W"),
        help="size of the images; it changes the counts only slightly (%(default)s)",
    )
    parser.add_argument(
        "--sites",
        type=int,
        default=0,
        metavar="N",
        help="also print the N lines of code with the most synchronizations",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write the counts to this file"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Count, print the table, write the file that was asked for.

    Raises:
        UserError: sizes or numbers that are not positive; a config that is no two-stage model.
    """
    if min(*args.objects, *args.image) < 1:
        raise UserError(f"--objects and --image must be positive: {args.objects}, {args.image}.")
    rows: list[Row] = []
    for label, config, stock in _contenders(args.configs):
        for objects in args.objects:
            rows.append(_training_row(label, config, stock, args, objects))
        rows.append(_prediction_row(label, config, args))
    print_rows(rows)
    if args.sites:
        for row in rows:
            print(f"\n{row.case}")
            for where, launches, syncs, copies in row.counts.by_place()[: args.sites]:
                print(f"  {syncs:4d} syncs {launches:5d} launches {copies:3d} copies  {where}")
    if args.json is not None:
        content = [dict(case=row.case, **row.counts.totals()) for row in rows]
        write_whole(args.json, json.dumps(content, indent=2) + "\n")
        print(f"written: {args.json}")


def _contenders(configs: Sequence[str]) -> list[tuple[str, ConfigDict, bool]]:
    """Label, model, and whether it is stock mmdet's."""
    if configs:
        return [(Path(name).stem, _model_of(name), False) for name in configs]
    return [
        ("R50-FPN", our_config("maskr_r50_fpn.py"), False),
        (f"R50-FPN, {PEER} mmdet", get_config(STOCK).model, True),
        ("R50-FPN with keypoints", our_config("maskr_keypoint_r50_fpn.py"), False),
    ]


def _model_of(name: str) -> ConfigDict:
    model = Config.fromfile(name).get("model")
    if model is None or "roi_head" not in model:
        raise UserError(f"{name} has no two-stage detector (model.roi_head).")
    return model


def _training_row(
    label: str, config: ConfigDict, stock: bool, args: argparse.Namespace, objects: int
) -> Row:
    model = build(config)
    counts, _ = count_training_step(
        model,
        lambda: training_batch(model, tuple(args.image), objects, geometry=not stock),
        guarded=not stock,
    )
    return Row(f"{label}: training step, 2 images, {objects} objects each", counts)


def _prediction_row(label: str, config: ConfigDict, args: argparse.Namespace) -> Row:
    model = build(config)
    image = photo_for(model, *args.image)
    calibrate(model, batch_of(image))
    counts, found = count_prediction(model, image)
    number = f", {len(found.pred_instances)} detections" if "pred_instances" in found else ""
    return Row(f"{label}: prediction, 1 image{number}", counts)


def print_rows(rows: Sequence[Row]) -> None:
    """A table in Markdown, as the documentation has it."""
    for line in table(rows):
        print(line)


def table(rows: Sequence[Row]) -> list[str]:
    """The lines of a table in Markdown."""
    lines: list[Any] = [HEAD, ["---"] * len(HEAD), *(row.cells() for row in rows)]
    return ["| " + " | ".join(line) + " |" for line in lines]

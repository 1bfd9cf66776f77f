"""A whole training step against stock mmdet: same weights, same images and targets, same draws."""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import ConfigDict
from mmengine.hub import get_config
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_maskr.benchmark.measure import (
    TimedCase,
    add_measuring_options,
    compare,
    now,
    on_device,
    peak_mib,
    time_in_turn,
)
from mmdet_maskr.benchmark.random_model import PEER, STOCK, build, our_config
from mmdet_maskr.deploy.optimization import PRECISIONS
from mmdet_maskr.engine.channels_last import turn_on_channels_last
from mmdet_maskr.errors import UserError

LOSS_TOLERANCE = 1e-4
AMP_TOLERANCE = 5e-2
# Our parts, and those of mmdet with the same parameters.
STOCK_PARTS = dict(
    BatchedDataPreprocessor="DetDataPreprocessor",
    SampledRPNHead="RPNHead",
    ParallelRoIHead="StandardRoIHead",
    LevelRoIExtractor="SingleRoIExtractor",
    ComposedMaskHead="FCNMaskHead",
)


@dataclass(frozen=True)
class Setting:
    """A model and its images."""

    label: str
    config: str
    image: tuple[int, int]
    batch: int
    objects: int
    optimizer: str
    optimizer_options: dict = field(default_factory=dict)  # of ours, as in its configs
    stock_config: str | None = None  # None: ours, of mmdet's parts


SETTINGS = dict(
    mini=Setting(
        "mini model, 8 images 160x160",
        "maskr_mini_fpn.py",
        (160, 160),
        8,
        5,
        "AdamW",
        dict(fused=True),
    ),
    r50=Setting(
        "R50-FPN, 2 images 800x1333",
        "maskr_r50_fpn.py",
        (800, 1333),
        2,
        10,
        "SGD",
        stock_config=STOCK,
    ),
)


def model_config(setting: Setting, name: str) -> ConfigDict:
    """Config of one contender."""
    if name != PEER:
        return our_config(setting.config)
    if setting.stock_config is not None:
        return get_config(setting.stock_config).model
    config = our_config(setting.config)
    head = config.roi_head
    parts = (head.bbox_roi_extractor, head.mask_roi_extractor, head.mask_head, head)
    for part in (config.data_preprocessor, config.rpn_head, *parts):
        part.type = STOCK_PARTS[part.type]
    return config


def samples(setting: Setting, classes: int) -> tuple[Tensor, list[DetDataSample]]:
    """Images of noise, padded to a multiple of 32, with elliptic objects."""
    height, width = setting.image
    padded = tuple(-(-side // 32) * 32 for side in setting.image)
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.standard_normal((setting.batch, 3, *padded)).astype(np.float32))
    rows, columns = np.ogrid[: padded[0], : padded[1]]
    data = []
    for _ in range(setting.batch):
        side = min(height, width) * (0.08 * 8 ** rng.random((setting.objects, 2)))
        corner = rng.random((setting.objects, 2)) * (np.array([width, height]) - side)
        boxes = np.concatenate([corner, corner + side], axis=1).astype(np.float32)
        masks = [
            ((columns - (x1 + x2) / 2) / (x2 - x1)) ** 2 + ((rows - (y1 + y2) / 2) / (y2 - y1)) ** 2
            <= 0.25
            for x1, y1, x2, y2 in boxes
        ]
        meta = dict(
            img_shape=setting.image,
            pad_shape=padded,
            batch_input_shape=padded,
            ori_shape=setting.image,
            scale_factor=(1.0, 1.0),
        )
        sample = DetDataSample(metainfo=meta)
        sample.gt_instances = InstanceData(
            bboxes=torch.from_numpy(boxes),
            labels=torch.from_numpy(rng.integers(classes, size=setting.objects)),
            masks=BitmapMasks(np.stack(masks).astype(np.uint8), *padded),
        )
        sample.ignored_instances = InstanceData(
            bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)
        )
        data.append(sample)
    return images, data


def trained_proposals(sample: DetDataSample, count: int, seed: int) -> InstanceData:
    """What a trained RPN would propose: half near the objects, half anywhere.

    A random RPN finds no positive RoIs, and the mask branch would have nothing to do.
    """
    generator = torch.Generator().manual_seed(seed)
    height, width = sample.img_shape
    objects = sample.gt_instances.bboxes
    near = objects[torch.arange(count // 2) % len(objects)]
    size = (near[:, 2:] - near[:, :2]).repeat(1, 2)
    near = near + 0.1 * size * torch.randn(near.shape, generator=generator).clamp(-2, 2)
    side = min(height, width) * 0.75
    size = 16 * (side / 16) ** torch.rand(count - len(near), 2, generator=generator)
    corner = torch.rand(size.shape, generator=generator) * (torch.tensor([width, height]) - size)
    boxes = torch.cat([near, torch.cat([corner, corner + size], dim=1)])
    boxes = boxes.clamp(min=0).minimum(torch.tensor([width, height]).repeat(2))
    return InstanceData(
        bboxes=boxes, scores=torch.ones(count), labels=torch.zeros(count, dtype=torch.long)
    )


class Step:
    """Forward, backward and optimizer step of one contender, in float32 or mixed precision.

    Ours has channels_last images, as our configs.

    The learning rate is zero, so that every step does the same work, and the samplers draw from
    the same seed in every step. The RPN does its work, but the RoI head gets the proposals of
    :func:`trained_proposals`.
    """

    def __init__(
        self, setting: Setting, name: str, device: str = "cpu", amp: str | None = None
    ) -> None:
        config = model_config(setting, name)
        self.device = torch.device(device)
        self.amp = None if amp is None else PRECISIONS[amp]
        # small gradients are zero in float16, but for a factor
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=amp == "float16")
        self.model = build(config).train().to(self.device)
        options = dict(lr=0.0, weight_decay=0.0)
        if name != PEER:
            options.update(setting.optimizer_options)
            turn_on_channels_last(self.model)
        optimizer = getattr(torch.optim, setting.optimizer)
        self.optimizer = optimizer(self.model.parameters(), **options)
        images, found = samples(setting, config.roi_head.bbox_head.num_classes)
        self.images = images.to(self.device)
        self.samples = [sample.to(self.device) for sample in found]
        self.losses: dict[str, float] = {}
        count = config.train_cfg.rpn_proposal.max_per_img
        self.proposals = [
            trained_proposals(sample, count, seed).to(self.device)
            for seed, sample in enumerate(found)
        ]
        self.next_proposals: list[InstanceData] = []
        rpn = self.model.rpn_head
        loss_and_predict = rpn.loss_and_predict
        rpn.loss_and_predict = lambda *args, **kwargs: (
            loss_and_predict(*args, **kwargs)[0],
            self.next_proposals,
        )

    def __call__(self) -> float:
        """Seconds of one step."""
        torch.manual_seed(3)
        samples = copy.deepcopy(self.samples)  # a step writes into both
        self.next_proposals = copy.deepcopy(self.proposals)
        start = now(self.device)
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, self.amp, enabled=self.amp is not None):
            losses = self.model.loss(self.images, samples)
        total, log = self.model.parse_losses(losses)
        self.scaler.scale(total).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        seconds = now(self.device) - start
        self.losses = {name: float(value.detach()) for name, value in log.items()}
        return seconds


def prepare_for_peak(
    setting: Setting, name: str, device: str, amp: str | None
) -> Callable[[], object]:
    """The first step of a process: with the gradients of the weights."""
    return Step(setting, name, device, amp)


def add_train_step(subparsers: argparse._SubParsersAction) -> None:
    """Add the subcommand train-step."""
    parser = subparsers.add_parser(
        "train-step",
        help="a training step, compared with stock mmdet",
        description=(
            "Times forward, backward and optimizer step. r50: R50-FPN, 2 images of "
            "800x1333, up to 512 RoIs each, compared with mmdet's "
            "mask-rcnn_r50_fpn_1x_coco with the same weights, images, targets, "
            "proposals and samples. Our model uses channels_last, as in its configs. "
            "mini: the model of configs/mini, compared with the same model made of "
            "mmdet's parts. Fails if losses differ by more than 1e-4 (5e-2 with --amp)."
        ),
        epilog="example: maskr benchmark train-step --models mini --repeats 15 --profile",
    )
    add_measuring_options(parser, repeats=5)
    parser.add_argument("--models", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--device", default="cpu", help="cpu or cuda (%(default)s)")
    parser.add_argument(
        "--amp",
        choices=list(PRECISIONS),
        help=(
            "use mixed precision; needs a GPU, because mmcv's RoIAlign does not support it on a CPU"
        ),
    )
    parser.add_argument("--profile", action="store_true", help="then profile our step by operator")
    parser.set_defaults(run=lambda args: compare(args, PEER, measure))


def measure(args: argparse.Namespace) -> list[TimedCase]:
    """A row for each model that is asked for.

    Raises:
        UserError: no GPU for ``--device cuda``, or ``--amp`` on a CPU.
    """
    device = on_device(args.device)
    if args.amp is not None and device.type == "cpu":
        raise UserError(
            "--amp needs --device cuda: on a CPU there is no stock mmdet to compare with, as "
            "mmcv's RoIAlign knows float32 and float64 only there."
        )
    rows = []
    for name in args.models:
        setting = SETTINGS[name]
        rows.append(measure_setting(setting, args))
        if args.profile:
            print_profile(setting, device)
    return rows


def measure_setting(setting: Setting, args: argparse.Namespace) -> TimedCase:
    """Our step against that of stock mmdet.

    Raises:
        UserError: a loss differs by more than LOSS_TOLERANCE; in mixed precision, by more than
            AMP_TOLERANCE.
    """
    print(f"{setting.label} ...", flush=True)
    place = (args.device, args.amp)
    ours = Step(setting, "ours", *place)
    peer = Step(setting, PEER, *place)
    ours.model.load_state_dict(peer.model.state_dict(), strict=True)
    timings = time_in_turn({"ours": ours, PEER: peer}, args.repeats)
    difference = loss_difference(ours.losses, peer.losses)
    if not difference <= (LOSS_TOLERANCE if args.amp is None else AMP_TOLERANCE):
        raise UserError(
            f"{setting.label}: losses differ by {difference:g}: ours {ours.losses}, stock "
            f"{peer.losses}."
        )
    notes = dict(max_loss_difference=difference, losses=ours.losses, peer_losses=peer.losses)
    del ours, peer
    if not args.no_memory:
        threads = torch.get_num_threads()
        for name, timing in timings.items():
            timing.peak_mib = peak_mib(prepare_for_peak, setting, name, *place, threads=threads)
    return TimedCase(setting.label, timings["ours"], timings[PEER], notes)


def loss_difference(ours: dict[str, float], peer: dict[str, float]) -> float:
    """Largest difference of a loss that both have, relative where the loss is above 1."""
    shared = [name for name in ours if name in peer and "loss" in name]
    return max(abs(ours[name] - peer[name]) / max(1.0, abs(peer[name])) for name in shared)


def print_profile(setting: Setting, device: torch.device, lines: int = 18) -> None:
    """What is left: our step by operator, forward and backward, with the share of each.

    Of operators on the CPU, also where they only start work on a GPU.
    """
    step = Step(setting, "ours", str(device))
    step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        step()
    events = sorted(profiler.key_averages(), key=lambda e: -e.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    print(f"\n{setting.label}: {total / 1e6:.2f} s by operator")
    for event in events[:lines]:
        milliseconds = event.self_cpu_time_total / 1e3
        share = milliseconds * 1e3 / total
        print(f"  {share:6.1%} {milliseconds:10.1f} ms {event.count:6d} x {event.key}")

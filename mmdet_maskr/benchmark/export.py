"""Exported models against stock mmdet and our model in PyTorch: speed, and the same detections."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from torch import nn

from mmdet_maskr.apis.predictions import to_rles
from mmdet_maskr.benchmark.measure import (
    TimedCase,
    add_measuring_options,
    compare,
    show_progress,
    time_in_turn,
    timed,
)
from mmdet_maskr.benchmark.random_model import (
    PEER,
    batch_of,
    build,
    calibrate,
    read_photo,
    synthetic_photo,
)
from mmdet_maskr.benchmark.train_step import SETTINGS, model_config
from mmdet_maskr.deploy.export.check import Differences
from mmdet_maskr.deploy.export.write import export
from mmdet_maskr.deploy.runtime import load
from mmdet_maskr.quiet import quiet

FORMS = dict(  # name: format and whether it is quantized
    onnx=("onnx", False),
    torchscript=("torchscript", False),
    openvino=("openvino", False),
    int8=("openvino", True),
)
SAME_PLACE = 0.5  # IoU with which detections of a quantized model count as the same
# the input is at the network's size already
NO_RESIZE = [dict(type="LoadImageFromFile"), dict(type="PackDetInputs")]


def add_export(subparsers: argparse._SubParsersAction) -> None:
    """Add the subcommand export."""
    parser = subparsers.add_parser(
        "export",
        help="ONNX Runtime, OpenVINO (float32 and 8 bits) and PyTorch on one image",
        description=(
            "Times detection on one image at the network's size, with masks pasted into "
            "it. Weights are random but calibrated, so that about 1000 boxes pass the "
            "score threshold. All forms of the model run in turn, and their detections "
            "are compared with stock mmdet's."
        ),
        epilog="example: maskr benchmark export --threads 2 --json export.json",
    )
    add_measuring_options(parser, repeats=5)
    parser.set_defaults(no_memory=True)
    parser.add_argument("--model", choices=sorted(SETTINGS), default="r50", help="(%(default)s)")
    parser.add_argument("--forms", nargs="+", choices=list(FORMS), default=list(FORMS))
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("H", "W"), help="(default: 800 1333; mini: 160 160)"
    )
    parser.add_argument("--image", type=Path, help="a photo, resized to --size (default: noise)")
    parser.add_argument(
        "--calibration-images", type=int, default=4, metavar="N", help="of int8 (%(default)s)"
    )
    parser.set_defaults(run=lambda args: compare(args, PEER, measure))


def _prediction(model: Callable, image: np.ndarray) -> dict:
    return model(image)["predictions"][0]


def measure(args: argparse.Namespace) -> list[TimedCase]:
    """A row for our model in PyTorch and for each exported form.

    Raises:
        UserError: a photo that is not there.
    """
    # 1. both models, with the same weights; scores such that detections remain
    setting = SETTINGS[args.model]
    height, width = args.size or setting.image
    image = synthetic_photo(height, width)
    if args.image is not None:
        image = read_photo(args.image, height, width)
    ours, stock = (build(model_config(setting, name)) for name in ("ours", PEER))
    count = calibrate(ours, batch_of(image))
    stock.load_state_dict(ours.state_dict())
    ours.test_cfg.rcnn.mask_output = "rle"
    label = setting.label.split(",")[0]
    print(f"{label}, {height} x {width}: {count} boxes pass the score threshold", flush=True)
    predict: dict[str, Callable[[], dict]] = {
        PEER: lambda: predictions(stock, image),
        "ours": lambda: predictions(ours, image),
    }
    # 2. export every form, compare it with stock mmdet, and measure all in turn
    with tempfile.TemporaryDirectory() as folder:
        for name in args.forms:
            show_progress(f"exporting {name}")
            form, quantized = FORMS[name]
            calibration = None
            if quantized:
                seeds = range(1, args.calibration_images)
                made = [synthetic_photo(height, width, seed) for seed in seeds]
                calibration = [
                    np.ascontiguousarray(i.transpose(2, 0, 1)[None], np.float32)
                    for i in (image, *made)
                ]
            target = Path(folder) / name
            with quiet():
                export(ours, _config(), _meta(ours), target, form, calibration=calibration)
            model = load(target, threads=torch.get_num_threads())
            predict[name] = partial(_prediction, model, image)
        expected = predict[PEER]()
        compared = {name: _compare(expected, run()) for name, run in predict.items()}
        timings = time_in_turn(
            {name: partial(timed, run) for name, run in predict.items()}, args.repeats
        )
    # 3. a row for each but stock mmdet
    rows = []
    for name, differences in compared.items():
        if name == PEER:
            continue
        print(
            f"{name}: {differences.matched} of {differences.expected} detections matched, "
            f"scores within {differences.score:.1e}, boxes within {differences.box:.1e} pixels, "
            f"masks differ in {differences.mask_pixels / max(1, differences.foreground):.1e}"
        )
        notes = {key: value for key, value in asdict(differences).items() if key != "keypoints"}
        rows.append(TimedCase(name, timings[name], timings[PEER], notes))
    return rows


@torch.no_grad()
def predictions(model: nn.Module, image: np.ndarray) -> dict:
    """Of a model in PyTorch on an image (H, W, 3) in BGR, as the runtime gives them."""
    found: DetDataSample = model.test_step(batch_of(image))[0]
    instances = found.pred_instances
    result = {name: instances[name].tolist() for name in ("labels", "scores", "bboxes")}
    if "masks" in instances:
        result["masks"] = instances.masks
    return result


def _config() -> Config:
    return Config(dict(test_dataloader=dict(dataset=dict(pipeline=NO_RESIZE))))


def _meta(model: nn.Module) -> dict:
    return dict(classes=[str(i) for i in range(model.roi_head.bbox_head.num_classes)])


def _compare(expected: dict, found: dict) -> Differences:
    differences = Differences()
    differences.add(_with_rles(expected), _with_rles(found), SAME_PLACE)
    return differences


def _with_rles(found: dict) -> dict:
    if "masks" not in found or isinstance(found["masks"], list):
        return found
    return {**found, "masks": to_rles(found["masks"])}

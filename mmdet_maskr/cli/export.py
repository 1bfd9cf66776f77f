"""``maskr export``: write the model, and compare it with PyTorch."""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import sys
from pathlib import Path

import numpy as np
from torch import nn

from mmdet_maskr.apis import MaskRInferencer
from mmdet_maskr.cli.arguments.export import CHECKED
from mmdet_maskr.datasets import wrappers
from mmdet_maskr.deploy import load
from mmdet_maskr.deploy.export import check, evaluate, quantize, write
from mmdet_maskr.deploy.export.metadata import load_of, resize_of
from mmdet_maskr.deploy.files import FILES
from mmdet_maskr.deploy.images import prepare, read_image
from mmdet_maskr.deploy.runtime import ExportedModel
from mmdet_maskr.engine.data_root import replace_data_root
from mmdet_maskr.engine.options import weights_of
from mmdet_maskr.errors import UserError
from mmdet_maskr.inference.inputs import expand
from mmdet_maskr.models.data_preprocessors import BandsDataPreprocessor
from mmdet_maskr.quiet import quiet

SIZES = ((240, 320), (333, 187))  # of the pictures of noise that are compared without --images


def check_args(args: argparse.Namespace) -> None:
    """Refuse what cannot work before the model is built.

    Raises:
        UserError: a file that is not there, options that do not go together.
    """
    write.check_format(args.format, args.opset)
    place_words(args)
    for path in (args.config, args.checkpoint):
        if "://" not in path and not Path(path).is_file():
            raise UserError(f"there is no file {path}.")
    if args.data_root is not None and not args.evaluate:
        raise UserError("--data-root needs --evaluate.")
    if args.int8 != (args.calibration is not None):
        raise UserError("--int8 and --calibration FOLDER must be used together.")
    if args.int8:
        if args.format != "openvino":
            raise UserError(f"--int8 needs --format openvino, not {args.format}.")
        quantize.check_package()
        if args.calibration_images < 1:
            raise UserError(
                f"--calibration-images must be positive, not {args.calibration_images}."
            )


def place_words(args: argparse.Namespace) -> None:
    """Say which word is the folder: CONFIG CHECKPOINT OUT, or ``--weights NAME`` [CONFIG] OUT.

    Raises:
        UserError: a word too few, or too many.
    """
    words = [word for word in (args.config, args.checkpoint, args.out) if word is not None]
    if len(words) not in ((3,) if args.weights is None else (1, 2)):
        raise UserError("pass CONFIG CHECKPOINT OUT, or --weights NAME and OUT.")
    args.out = Path(words.pop())
    args.config = words.pop(0) if words else None
    args.checkpoint = weights_of(args, words.pop() if words else None)


def images_to_check(args: argparse.Namespace, model: nn.Module) -> list:
    """What the exported file and PyTorch are compared on.

    Returns:
        Paths of ``--images``, or of the first of ``--calibration``; else noise, an array (H, W, 3)
        uint8 of each of ``SIZES``, or (H, W, bands) float32 about the model's means.
    """
    if args.images is not None:
        return expand(args.images)
    if args.calibration is not None:
        return expand(args.calibration)[:CHECKED]
    rng = np.random.default_rng(0)
    pixels = model.data_preprocessor
    if isinstance(pixels, BandsDataPreprocessor):
        mean, std = (values.flatten().numpy() for values in (pixels.mean, pixels.std))
        return [
            rng.normal(mean, std, (*size, len(mean))).clip(0).astype(np.float32) for size in SIZES
        ]
    return [rng.integers(0, 256, (*size, 3), np.uint8) for size in SIZES]


def run(args: argparse.Namespace) -> None:
    check_args(args)
    if args.images is not None:
        expand(args.images)  # says what is missing before the model is built
    with quiet():
        inferencer = MaskRInferencer(
            args.config, args.checkpoint, device="cpu", show_progress=False
        )
    images = images_to_check(args, inferencer.model)
    calibration = None
    if args.int8:
        paths = expand(args.calibration)[: args.calibration_images]
        print(
            f"calibrating the quantization with {len(paths)} images of {args.calibration} ...",
            flush=True,
        )
        pipeline = wrappers.the_pipeline(inferencer.cfg.test_dataloader.dataset, "an export")
        load_options, resize = load_of(pipeline), resize_of(pipeline)
        calibration = (prepare(read_image(path, load_options), resize).image for path in paths)
    write.export(
        inferencer.model, inferencer.cfg, inferencer.model.dataset_meta, args.out, args.format,
        args.opset, calibration,
    )  # fmt: skip
    print(f"written: {args.out / FILES[args.format]} and {args.out / 'metadata.json'}")
    print(f"compared with PyTorch on {len(images)} images:", flush=True)
    exported = load(args.out, threads=args.threads)
    limits = check.INT8 if args.int8 else check.FP32
    differences = check.Differences()
    for image in images:
        source = image if isinstance(image, np.ndarray) else str(image)
        expected = inferencer(source, no_save_vis=True)["predictions"][0]
        differences.add(expected, exported(image)["predictions"][0], limits.iou)
    near = check.report(differences, limits)
    if args.evaluate:
        compare_scores(args, inferencer, exported)
    if not near:
        sys.exit(1)


def compare_scores(
    args: argparse.Namespace, inferencer: MaskRInferencer, exported: ExportedModel
) -> None:
    """Print COCO's scores of both, times 100."""
    cfg = inferencer.cfg
    if args.data_root is not None:
        replace_data_root(cfg, cfg.data_root, args.data_root)
    keypoints = exported.metadata.get("keypoints", {}).get("count", 0)
    predict = dict(
        PyTorch=lambda path: inferencer(path, no_save_vis=True)["predictions"][0],
        exported=lambda path: exported(path)["predictions"][0],
    )
    with quiet(logging.INFO), contextlib.redirect_stdout(io.StringIO()):
        found = {
            name: evaluate.scores(run, cfg, inferencer.model.dataset_meta, keypoints)
            for name, run in predict.items()
        }
    print(f"{'score':24s} {'PyTorch':>8s} {'exported':>8s} {'change':>8s}")
    for name, before in found["PyTorch"].items():
        after = found["exported"][name]
        if name.endswith("mAP"):
            print(
                f"{name:24s} {before * 100:8.1f} {after * 100:8.1f} {(after - before) * 100:8.1f}"
            )

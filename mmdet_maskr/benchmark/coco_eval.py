"""Speed of COCO evaluation: each installed backend of our metric, and mmdet's metric."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import pickle
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from mmdet.evaluation import CocoMetric
from mmengine.logging import MMLogger

from mmdet_maskr.benchmark.mask import random_logits
from mmdet_maskr.benchmark.measure import (
    TimedCase,
    add_measuring_options,
    compare,
    peak_mib,
    time_in_turn,
    timed,
)
from mmdet_maskr.coco.keypoint_meta import COCO_PERSON
from mmdet_maskr.errors import UserError
from mmdet_maskr.evaluation import CocoInstanceMetric
from mmdet_maskr.evaluation.backends import REFERENCE, installed
from mmdet_maskr.evaluation.scores import default_items
from mmdet_maskr.ops.mask_rle import encode_masks

HEIGHT, WIDTH = 480, 640
NUM_KEYPOINTS = 17
MMDET = "mmdet"
CASES = {
    "boxes": ["bbox"],
    "masks": ["segm"],
    "boxes-and-masks": ["bbox", "segm"],
    "keypoints": ["keypoints"],
}


def add_coco_eval(subparsers: argparse._SubParsersAction) -> None:
    """Add the subcommand coco-eval."""
    parser = subparsers.add_parser(
        "coco-eval",
        help="COCO evaluation with each installed backend, and with mmdet's CocoMetric",
        description=(
            "Times COCO evaluation, from a model's predictions to scores: process() for "
            "each image, then evaluate(). Our metric works in memory, mmdet's with JSON "
            "files. Images are 640 x 480 with 7 annotations on average; half of the "
            "detections are near one. All statistics, precisions and recalls must equal "
            "those of pycocotools to 6 decimals, and the scores those of mmdet's "
            "metric. pycocotools uses one thread, hotcoco RAYON_NUM_THREADS (default: "
            "all), faster_coco_eval up to eight for masks."
        ),
        epilog="example: maskr benchmark coco-eval --cases boxes-and-masks --repeats 1",
    )
    add_measuring_options(parser, repeats=3)
    parser.add_argument("--images", type=int, default=500, help="(%(default)s)")
    parser.add_argument("--detections", type=int, default=100, help="an image (%(default)s)")
    parser.add_argument("--classes", type=int, default=80, help="of boxes and masks (%(default)s)")
    parser.add_argument(
        "--cases",
        nargs="+",
        choices=list(CASES),
        default=["boxes-and-masks", "keypoints"],
        help="what to evaluate (default: boxes-and-masks keypoints)",
    )
    parser.add_argument(
        "--alone",
        action="store_true",
        help=(
            "time only the fastest backend, without a comparison; pycocotools takes "
            "minutes for thousands of images"
        ),
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Compare the contenders, or time one of them alone.

    Raises:
        UserError: what :func:`measure` finds; ``--json`` with ``--alone``.
    """
    if not args.alone:
        compare(args, REFERENCE, measure)
        return
    if args.json is not None:
        raise UserError("--json keeps a comparison: leave out --alone, or --json.")
    _check(args)
    name = installed()[0]
    for case in args.cases:
        with tempfile.TemporaryDirectory() as folder:
            print(f"{case}: {args.images * args.detections} detections are made ...", flush=True)
            write_case(Path(folder), case, args.images, args.detections, args.classes)
            found = time_in_turn({name: partial(time_one, name, folder, case)}, args.repeats, 0)
        timing = found[name]
        print(
            f"{case}, {name}: {timing.median:.2f} s ({timing.min:.2f} to {timing.max:.2f}) with "
            "the collection of predictions"
        )


def _check(args: argparse.Namespace) -> None:
    if min(args.images, args.detections, args.classes) < 1:
        raise UserError(
            "--images, --detections and --classes must be positive, got "
            f"{args.images}, {args.detections}, {args.classes}."
        )


def measure(args: argparse.Namespace) -> list[TimedCase]:
    """A row for each case and contender.

    Raises:
        UserError: an option is out of range, or a number differs from pycocotools'.
    """
    _check(args)
    backends = installed()
    print(f"backends: {', '.join(backends)}")
    rows = []
    for case in args.cases:
        names = [*backends, *([MMDET] if case != "keypoints" else [])]
        with tempfile.TemporaryDirectory() as folder:
            print(f"{case}: {args.images * args.detections} detections are made ...", flush=True)
            write_case(Path(folder), case, args.images, args.detections, args.classes)
            reference = numbers_of(REFERENCE, folder, case)
            differences = {
                name: largest_difference(name, folder, case, reference)
                for name in names
                if name != REFERENCE
            }
            timings = time_in_turn(
                {name: partial(time_one, name, folder, case) for name in names},
                args.repeats,
                warmup=0,  # the comparison of the numbers was one
            )
            if not args.no_memory:
                for name in names:
                    timings[name].peak_mib = peak_mib(
                        prepare, name, folder, case, threads=torch.get_num_threads()
                    )
        for name in names:
            if name != REFERENCE:
                notes = dict(backend=name, largest_difference=differences[name])
                rows.append(TimedCase(f"{case}, {name}", timings[name], timings[REFERENCE], notes))
    print("all numbers are those of pycocotools")
    return rows


# --------------------------------------------------------------------------------------- evaluation
def time_one(name: str, folder: str, case: str) -> float:
    """Seconds that a contender takes to collect and evaluate stored predictions once."""
    return timed(prepare(name, folder, case))


def prepare(name: str, folder: str, case: str) -> Callable[[], dict[str, float]]:
    """A function that evaluates stored predictions once; the data are read before, every time."""
    metric, samples = _metric_and_predictions(name, folder, case)

    def run() -> dict[str, float]:
        with contextlib.redirect_stdout(io.StringIO()):
            for sample in samples:
                metric.process({}, [sample])
            return metric.evaluate(len(samples))

    return run


def largest_difference(
    name: str, folder: str, case: str, reference: dict[str, np.ndarray]
) -> float:
    """Of all numbers of a contender from pycocotools'.

    Args:
        name: of the contender.
        folder: of the stored predictions.
        case: which of them.
        reference: pycocotools' numbers by name, such as (12,) statistics.

    Raises:
        UserError: it is 5e-7 or more; scores of mmdet's metric, which it rounds, have to be equal.
    """
    if name == MMDET:
        numbers = prepare(MMDET, folder, case)()
        reference = {
            f"coco/{kind}_{item}": round(reference[f"{kind} stats"][i], 3)
            for kind in CASES[case]
            for i, item in enumerate(default_items(kind))
        }
    else:
        numbers = numbers_of(name, folder, case)
    if numbers.keys() != reference.keys():
        raise UserError(f"{case}: {name} gives {sorted(numbers)}, not {sorted(reference)}.")
    largest = max(float(np.abs(numbers[key] - reference[key]).max()) for key in reference)
    if not largest < 5e-7:
        raise UserError(f"{case}: a number of {name} differs from pycocotools' by {largest:g}.")
    return largest


def numbers_of(name: str, folder: str, case: str) -> dict[str, np.ndarray]:
    """Statistics, precisions and recalls of each metric of a case."""
    metric, samples = _metric_and_predictions(name, folder, case)
    metric.process({}, samples)
    results = [result for _, result in metric.results]
    numbers = {}
    with contextlib.redirect_stdout(io.StringIO()):
        for kind in CASES[case]:
            evaluation, _ = metric.evaluation(kind, results)
            numbers[f"{kind} stats"] = evaluation.stats
            for key in ("precision", "recall"):
                numbers[f"{kind} {key}"] = evaluation.eval[key]
    return numbers


def _metric_and_predictions(name: str, folder: str, case: str) -> tuple[CocoMetric, list[dict]]:
    MMLogger.get_instance("coco-eval").setLevel("WARNING")  # the last one made is the current one
    truth = str(Path(folder) / "truth.json")
    samples = pickle.loads((Path(folder) / "samples.pkl").read_bytes())
    with contextlib.redirect_stdout(io.StringIO()):
        if name == MMDET:
            metric = CocoMetric(truth, list(CASES[case]))
        else:
            metric = CocoInstanceMetric(truth, CASES[case], backend=name)
        categories = json.loads(Path(truth).read_text())["categories"]
        metric.dataset_meta = dict(
            COCO_PERSON, classes=tuple(category["name"] for category in categories)
        )
    return metric, samples


# --------------------------------------------------------------------------------------------- data
def write_case(folder: Path, case: str, images: int, detections: int, classes: int) -> None:
    """``truth.json`` and ``samples.pkl``, predictions as a model's data samples; seeded."""
    rng = np.random.default_rng(0)
    with_keypoints, with_masks = case == "keypoints", "segm" in CASES[case]
    categories = [dict(id=1, name="person")]
    if not with_keypoints:
        categories = [dict(id=i + 1, name=f"class {i}") for i in range(classes)]
    annotations: list[dict] = []
    samples: list[dict] = []
    for image in range(1, images + 1):
        own = _annotations(rng, len(categories), with_keypoints)
        for annotation in own:
            annotations.append(dict(annotation, id=len(annotations) + 1, image_id=image))
        pred = _predictions(rng, own, detections, len(categories), with_keypoints)
        if with_masks:
            masks = random_logits(detections, seed=image).sigmoid()
            pred["masks"] = encode_masks(masks, pred["bboxes"], HEIGHT, WIDTH)
        size = (HEIGHT, WIDTH)
        samples.append(dict(img_id=image, ori_shape=size, pred_instances=pred))
    listed = [
        dict(id=i + 1, file_name=f"{i + 1}.jpg", width=WIDTH, height=HEIGHT) for i in range(images)
    ]
    truth = dict(images=listed, categories=categories, annotations=annotations)
    (folder / "truth.json").write_text(json.dumps(truth), encoding="utf-8")
    (folder / "samples.pkl").write_bytes(pickle.dumps(samples))


def _annotations(rng: np.random.Generator, classes: int, with_keypoints: bool) -> list[dict]:
    found = []
    for _ in range(1 + rng.poisson(6)):
        sides = 16 * (min(HEIGHT, WIDTH) / 16) ** rng.random(2)
        corner = rng.random(2) * (np.array([WIDTH, HEIGHT]) - sides)
        angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        outline = corner + sides / 2 * (1 + circle * rng.uniform(0.7, 1, (24, 1)))
        annotation = dict(
            category_id=int(rng.integers(classes)) + 1,
            bbox=[*corner.tolist(), *sides.tolist()],
            area=float(0.6 * sides.prod()),
            iscrowd=int(rng.random() < 0.02),
            segmentation=[outline.round(2).ravel().tolist()],
        )
        if with_keypoints:
            visible = rng.choice([0, 1, 2], NUM_KEYPOINTS)
            points = corner + rng.random((NUM_KEYPOINTS, 2)) * sides
            triples = np.column_stack([points * (visible > 0)[:, None], visible])
            annotation["keypoints"] = triples.ravel().tolist()
            annotation["num_keypoints"] = int((visible > 0).sum())
        found.append(annotation)
    return found


def _predictions(
    rng: np.random.Generator,
    annotations: Sequence[dict],
    count: int,
    classes: int,
    with_keypoints: bool,
) -> dict[str, torch.Tensor]:
    """Half near an annotation and of its class, half anywhere; those near tend to score higher."""
    places = rng.integers(len(annotations), size=count)
    near = rng.random(count) < 0.5
    truth = np.array([annotations[i]["bbox"] for i in places])
    boxes = truth + rng.normal(0, 0.1, (count, 4)) * truth[:, [2, 3, 2, 3]]
    boxes[:, 2:] = boxes[:, 2:].clip(1)
    boxes[~near, :2] = (rng.random((count, 2)) * (WIDTH - 100, HEIGHT - 100))[~near]
    labels = np.array([annotations[i]["category_id"] - 1 for i in places])
    labels = np.where(near, labels, rng.integers(classes, size=count))
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    pred = dict(
        bboxes=torch.from_numpy(corners.astype(np.float32)),
        scores=torch.from_numpy((rng.random(count) * (0.5 + 0.5 * near)).astype(np.float32)),
        labels=torch.from_numpy(labels),
    )
    if with_keypoints:
        points = np.array([annotations[i]["keypoints"] for i in places])
        points = points.reshape(count, NUM_KEYPOINTS, 3)[..., :2]
        points = points + rng.normal(0, 0.05, points.shape) * boxes[:, None, 2:]
        pred["keypoints"] = torch.from_numpy(points.astype(np.float32))
        pred["keypoint_scores"] = torch.rand(count, NUM_KEYPOINTS)
    return pred

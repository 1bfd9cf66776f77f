"""Images a second with masks, from a file to masks at its size: ours against YOLO-seg's."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmdet_maskr.apis.detector import Detector, Wanted, collate_of, pipeline_of
from mmdet_maskr.benchmark import yolo
from mmdet_maskr.benchmark.measure import (
    TimedCase,
    Timing,
    add_measuring_options,
    compare,
    show_progress,
    time_in_turn,
    timed,
)
from mmdet_maskr.benchmark.random_model import build, calibrate, synthetic_photo
from mmdet_maskr.catalogue.files import config_path
from mmdet_maskr.datasets import wrappers
from mmdet_maskr.deploy import optimize
from mmdet_maskr.deploy.export.metadata import load_of, resize_of
from mmdet_maskr.deploy.export.write import export
from mmdet_maskr.deploy.images import prepare, read_image
from mmdet_maskr.deploy.runtime import ExportedModel, load
from mmdet_maskr.errors import UserError
from mmdet_maskr.inference.walk import Image
from mmdet_maskr.quiet import quiet

CONFIG = "light/maskr_effnet-lite0_fpn_480-3x"
YOLOS = ("yolo11n-seg", "yolo11s-seg")
FORMS = ("torch", "onnx", "openvino", "int8")
YOLO_FORMS = ("onnx", "openvino", "int8")
PEER = "peer"

Work = Callable[[Path], int]  # detects on a file, and gives the number of objects


def add_live(subparsers: argparse._SubParsersAction) -> None:
    """Add the subcommand live."""
    parser = subparsers.add_parser(
        "live",
        help="images per second, from image file to masks, compared with YOLO-seg",
        description=(
            "Times detection from an image file to masks at its size: decoding, "
            "resizing, model, masks. Our model runs in PyTorch (optimized), ONNX "
            "Runtime and OpenVINO (float32 and 8 bits), YOLO-seg in the same libraries; "
            "all run in turn on each image. Weights are random, and all models find "
            "--objects objects on each image. Each row compares our model with YOLO in "
            "the same library (PyTorch with ONNX Runtime). YOLO needs exported files, "
            "or ultralytics (AGPL; this package does not depend on it) to export them; "
            "otherwise its rows are left out."
        ),
        epilog="example: maskr benchmark live --threads 2 --repeats 20 --json live.json",
    )
    add_measuring_options(parser, repeats=5)
    parser.set_defaults(no_memory=True)
    parser.add_argument("--config", default=CONFIG, help="name or path (%(default)s)")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument(
        "--yolo",
        nargs="*",
        default=list(YOLOS),
        metavar="NAME|FILE",
        help="exported .onnx files, or names of models that ultralytics exports (%(default)s)",
    )
    parser.add_argument(
        "--yolo-size", type=int, default=640, metavar="S", help="input size of YOLO (%(default)s)"
    )
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        default=(480, 640),
        metavar=("H", "W"),
        help="size of the images",
    )
    parser.add_argument(
        "--images",
        type=int,
        default=4,
        metavar="N",
        help="number of different images (%(default)s)",
    )
    parser.add_argument(
        "--objects", type=int, default=20, help="detections on each image (%(default)s)"
    )
    parser.set_defaults(run=lambda args: compare(args, PEER, measure))


def measure(args: argparse.Namespace) -> list[TimedCase]:
    """A row for each form of ours and each YOLO.

    Raises:
        UserError: fewer than one object or image; sides find different numbers of objects.
    """
    if args.objects < 1 or args.images < 1 or min(args.size) < 32:
        raise UserError("--objects and --images must be positive, --size at least 32 32.")
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        photos = write_photos(folder, args.images, tuple(args.size))
        works = our_works(args, photos, folder, threads)
        works |= yolo_works(args, photos, folder, threads)
        check_objects(works, photos, args.objects)
        runs: dict[str, Callable[[], float]] = {
            name: partial(timed, partial(_all, work, photos)) for name, work in works.items()
        }
        timings = {name: _each(timing, len(photos))
                   for name, timing in time_in_turn(runs, args.repeats).items()}  # fmt: skip
    print(f"images a second, {args.objects} objects each, {threads} threads:")
    for name, timing in timings.items():
        print(f"  {name:24} {1 / timing.median:7.1f}")
    return rows_of(timings, args.forms)


def rows_of(timings: dict[str, Timing], forms: Sequence[str]) -> list[TimedCase]:
    """Ours against each YOLO in the same library; against ours in PyTorch where there is none."""
    rows = []
    for form in forms:
        ours = timings[f"ours, {form}"]
        library = "onnx" if form == "torch" else form
        peers = [name for name in timings if name.endswith(f", {library}")]
        peers = [name for name in peers if not name.startswith("ours")]
        for peer in peers or [f"ours, {forms[0]}"]:
            notes = dict(
                against=peer,
                images_per_second=1 / ours.median,
                peer_images_per_second=1 / timings[peer].median,
            )
            rows.append(TimedCase(f"ours, {form} : {peer}", ours, timings[peer], notes))
    return rows


def write_photos(folder: Path, count: int, size: tuple[int, int]) -> list[Path]:
    """JPEG files of noise with a photo's spectrum."""
    paths = [folder / f"{i}.jpg" for i in range(count)]
    for i, path in enumerate(paths):
        cv2.imwrite(str(path), synthetic_photo(*size, seed=i))
    return paths


class OurModel:
    """A model of ours with random weights that finds as many objects on each photo.

    Args:
        config: name or path.
        photos: files; its statistics are those of the first, and all of them quantize it.
        objects: how many it finds.
    """

    def __init__(self, config: str, photos: Sequence[Path], objects: int) -> None:
        init_default_scope("mmdet")
        path = config if Path(config).is_file() else config_path(config)
        self._named, self._photos = Path(path).stem, photos
        self._cfg = Config.fromfile(path)
        self._cfg.model.test_cfg.rcnn.max_per_img = objects
        self._model = build(self._cfg.model)
        self._pipeline, self._collate = pipeline_of(self._cfg), collate_of(self._cfg)
        count = calibrate(self._model, self._collate([self._pipeline(str(photos[0]))]))
        print(f"{self._named}: {count} boxes pass the score threshold", flush=True)
        classes = self._model.roi_head.bbox_head.num_classes
        self._meta = dict(classes=[str(i) for i in range(classes)])
        self._model.dataset_meta = self._meta

    def in_torch(self) -> Wanted:
        """Optimized, for a walk."""
        detector = Detector(
            optimize(self._model), self._cfg, self._pipeline, self._collate, self._named
        )
        return Wanted(detector, [0.0] * len(self._meta["classes"]), ("masks",))

    def exported(self, form: str, folder: Path, threads: int) -> ExportedModel:
        """In the library of a form, 'onnx', 'openvino' or 'int8', as files in ``folder``."""
        calibration = None
        if form == "int8":
            steps = wrappers.the_pipeline(self._cfg.test_dataloader.dataset, "an export")
            options, resize = load_of(steps), resize_of(steps)
            images = (read_image(photo, options) for photo in self._photos)
            calibration = [prepare(image, resize).image for image in images]
        library = "openvino" if form == "int8" else form
        with quiet():
            export(self._model, self._cfg, self._meta, folder, library, calibration=calibration)
        return load(folder, threads=threads)


def our_works(
    args: argparse.Namespace, photos: Sequence[Path], folder: Path, threads: int
) -> dict[str, Work]:
    """Our model in each of the forms."""
    model = OurModel(args.config, photos, args.objects)
    found: dict[str, Work] = {}
    for form in args.forms:
        show_progress(f"preparing {form}")
        if form == "torch":
            found[f"ours, {form}"] = partial(_by_torch, model.in_torch())
        else:
            exported = model.exported(form, folder / form, threads)
            found[f"ours, {form}"] = partial(_by_runtime, exported)
    show_progress("")
    return found


def yolo_works(
    args: argparse.Namespace, photos: Sequence[Path], folder: Path, threads: int
) -> dict[str, Work]:
    """Each YOLO in each library that runs our model; without ultralytics only exported files.

    Raises:
        UserError: a file of ``--yolo`` is missing.
    """
    found: dict[str, Work] = {}
    for given in args.yolo:
        path = Path(given)
        if path.suffix == ".onnx":
            if not path.is_file():
                raise UserError(f"--yolo {given}: there is no such file.")
        else:
            reason = yolo.why_not()
            if reason is not None:
                print(f"{given} is left out: {reason}")
                continue
            show_progress(f"exporting {given}")
            path = yolo.export_random(given, args.yolo_size, read_image(photos[0]), folder)
        forms = dict.fromkeys("onnx" if form == "torch" else form for form in args.forms)
        for form in forms:
            graph = _quantized(path, photos, args.yolo_size) if form == "int8" else path
            library = "openvino" if form == "int8" else form
            model = yolo.YoloSeg(graph, library, args.yolo_size, threads, args.objects)
            candidates = model.calibrate(photos)
            print(f"{path.stem}, {form}: {candidates:.1f} candidates an object before NMS")
            found[f"{path.stem}, {form}"] = partial(_by_yolo, model)
    show_progress("")
    return found


def _quantized(path: Path, photos: Sequence[Path], size: int) -> Path:
    """An ONNX graph in OpenVINO's format with 8 bits.

    Raises:
        UserError: NNCF or OpenVINO is not installed.
    """
    import openvino

    from mmdet_maskr.deploy.export.quantize import quantize

    inputs = [yolo.input_of(read_image(photo), size) for photo in photos]
    graph = quantize(openvino.convert_model(str(path)), inputs, sensitive=yolo.HEAD)
    target = photos[0].parent / f"{path.stem}_int8.xml"
    openvino.save_model(graph, str(target), compress_to_fp16=False)
    return target


def check_objects(works: dict[str, Work], photos: Sequence[Path], objects: int) -> None:
    """Check that each side has the same work to do.

    Raises:
        UserError: one finds another number of objects.
    """
    for name, work in works.items():
        counts = [work(photo) for photo in photos]
        if set(counts) != {objects}:
            raise UserError(f"{name} finds {counts} objects on the images, not {objects} on each.")


def _by_torch(wanted: Wanted, photo: Path) -> int:
    found = wanted.detect([wanted.prepare(Image(str(photo), str(photo)))])[0]
    instances = found.sample.pred_instances
    return len(np.asarray(instances.masks.cpu())) if "masks" in instances else len(instances)


def _by_runtime(model: ExportedModel, photo: Path) -> int:
    found = model(str(photo), masks="bitmaps")["predictions"][0]
    return len(found.get("masks", found["scores"]))


def _by_yolo(model: yolo.YoloSeg, photo: Path) -> int:
    return len(model(photo)[3])


def _all(work: Work, photos: Sequence[Path]) -> None:
    for photo in photos:
        work(photo)


def _each(timing: Timing, count: int) -> Timing:
    return Timing(timing.median / count, timing.min / count, timing.max / count)

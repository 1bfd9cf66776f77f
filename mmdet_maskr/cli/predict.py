"""``maskr predict``: the inferencer on the command line."""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from mmdet_maskr.apis import MaskRInferencer
from mmdet_maskr.apis.exported import ExportedInferencer
from mmdet_maskr.apis.geojson import place_of, write_geojson
from mmdet_maskr.apis.labels import labels_of
from mmdet_maskr.cli.output import only_json, print_json
from mmdet_maskr.datasets.formats.writers import check_empty, write_labels
from mmdet_maskr.deploy.files import is_exported
from mmdet_maskr.errors import UserError
from mmdet_maskr.folders import check_writable
from mmdet_maskr.inference.inputs import check_names, expand, is_url, is_video
from mmdet_maskr.inference.live import LiveFrames
from mmdet_maskr.inference.video import CODECS
from mmdet_maskr.inference.window import check_display
from mmdet_maskr.quiet import quiet


def run(args: argparse.Namespace) -> None:
    name_model(args)
    check_args(args)
    with only_json(args.json):
        inferencer = load_model(args)
        begin = time.monotonic()
        result = detect(inferencer, args)
        seconds = time.monotonic() - begin
        meta = inferencer.dataset_meta
        summary = summary_of(result, meta["classes"], seconds, args)
        if args.write:
            summary["left_out"] = write_all(args, result, meta)
        if args.geojson:
            write_maps(args, result, meta["classes"])
    if args.json:
        print_json(summary)
    else:
        print_summary(summary)
    if result["failed"]:
        sys.exit(1)


def name_model(args: argparse.Namespace) -> None:
    """Take the model from before the photos where ``--weights`` does not name it.

    Raises:
        UserError: no exported model is there; options of it that only a checkpoint has.
    """
    if args.weights is None:
        if not args.photos or not is_exported(args.photos[0]):
            raise UserError(
                "predict needs a model: --weights CHECKPOINT|NAME, or before the photos the folder "
                "that maskr export wrote."
            )
        args.weights = args.photos.pop(0)
    if not is_exported(args.weights):
        return
    for option, is_given, reason in (
        ("--config", args.config is not None, "it has its own"),
        ("--optimize", args.optimize, "it is in its fast form"),
        ("--batch-size", args.batch_size != 1, "it takes one image at a time"),
    ):
        if is_given:
            raise UserError(f"{option} is not for an exported model ({args.weights}): {reason}.")


def check_args(args: argparse.Namespace) -> None:
    """Refuse what needs no model to be seen as wrong.

    Raises:
        UserError: with the option's name.
    """
    if not 0 <= args.score_thr <= 1:
        raise UserError(f"--score-thr {args.score_thr:g}: it must be from 0 to 1.")
    if args.batch_size < 1:
        raise UserError(f"--batch-size {args.batch_size}: it must be 1 or more.")
    if args.ann_file is not None and args.coco_json is None:
        raise UserError("--ann-file has an effect only with --coco-json.")
    if args.write and any("://" in photo for photo in args.photos):
        raise UserError("--write needs image files: labels cannot be written for URLs.")
    for kind in args.write:
        check_empty(args.out_dir / kind)
    if args.overlap is not None and args.tile is None:
        raise UserError("--overlap has an effect only with --tile.")
    if bool(args.photos) == (args.camera is not None):
        raise UserError("pass either photos or a video, or --camera.")
    if args.reconnect is not None:
        if args.camera is None:
            raise UserError("--reconnect has an effect only with --camera.")
        if not 0 <= args.reconnect < math.inf:
            raise UserError(f"--reconnect {args.reconnect:g}: it must be 0 or more seconds.")
    if args.camera is not None and (args.write or args.coco_json is not None):
        raise UserError("--write and --coco-json work only for photos, not with --camera.")
    if args.out is not None and args.out.suffix not in CODECS:
        raise UserError(f"--out {args.out}: its name must end in {' or '.join(CODECS)}.")
    if args.out is not None and args.no_save_vis:
        raise UserError(
            "--out and --no-save-vis exclude each other: --out is the file of the drawn video."
        )
    if args.geojson:
        check_places(args)
    if args.show:
        check_display()


def check_places(args: argparse.Namespace) -> None:
    """Refuse ``--geojson`` for what has no coordinates, before anything is detected.

    Raises:
        UserError: no GeoTIFF, or two of one name.
    """
    if args.camera is not None or any(is_url(p) or is_video(p) for p in args.photos):
        raise UserError("--geojson works only for GeoTIFF files, not for videos and URLs.")
    images = expand(args.photos)
    check_names(images, "their files in --out-dir would overwrite one another", stems=True)
    for image in images:
        place_of(str(image))


def load_model(args: argparse.Namespace) -> MaskRInferencer:
    """The model that ``--weights`` names, a checkpoint or an exported one."""
    if not is_exported(args.weights):
        return load_inferencer(args)
    with quiet():
        return ExportedInferencer(
            args.weights,
            device=args.device,
            show_progress=sys.stderr.isatty() and not args.json,
        )


def load_inferencer(args: argparse.Namespace) -> MaskRInferencer:
    """The model that ``--weights`` and ``--config`` name."""
    with quiet(), contextlib.redirect_stdout(io.StringIO()):  # mmengine prints where it reads
        return MaskRInferencer(
            args.config,
            args.weights,
            device=args.device,
            optimize=args.optimize,
            show_progress=sys.stderr.isatty() and not args.json,
        )


def detect(inferencer: MaskRInferencer, args: argparse.Namespace) -> dict[str, Any]:
    """What is found on the photos; pictures and files are written."""
    return inferencer(
        args.photos if args.camera is None else open_camera(args),
        batch_size=args.batch_size,
        show=args.show,
        no_save_vis=args.no_save_vis,
        no_save_pred=args.no_save_pred,
        pred_score_thr=args.score_thr,
        score_thr=args.score_thr,
        outputs=args.outputs,
        out_dir=args.out_dir,
        coco_json=args.coco_json,
        ann_file=args.ann_file,
        tile=args.tile,
        overlap=args.overlap,
        track=args.track,
        film=args.out,
    )


def open_camera(args: argparse.Namespace) -> LiveFrames:
    """The camera or stream of ``--camera``."""
    if args.reconnect is None:
        return LiveFrames(args.camera)
    return LiveFrames(args.camera, args.reconnect)


def summary_of(
    result: dict[str, Any], classes: tuple[str, ...], seconds: float, args: argparse.Namespace
) -> dict[str, Any]:
    """What was found, and where it lies."""
    labels = Counter(label for found in result["predictions"] for label in found["labels"])
    labels.update(result.get("labels", {}))
    files = {}
    if args.out is not None:
        files["video"] = str(args.out)
    elif not args.no_save_vis:
        files["pictures"] = str(args.out_dir / "vis")
    if not args.no_save_pred:
        files["predictions"] = str(args.out_dir / "preds")
    if args.coco_json is not None:
        files["coco_json"] = str(args.coco_json)
    if args.geojson:
        files["geojson"] = str(args.out_dir / "geojson")
    files |= {kind: str(args.out_dir / kind) for kind in args.write}
    return dict(
        images=len(result["images"]),
        failed=result["failed"],
        detections={classes[label]: count for label, count in sorted(labels.items())},
        seconds=round(seconds, 3),
        files=files,
    )


def write_all(
    args: argparse.Namespace, result: dict[str, Any], meta: dict[str, Any]
) -> dict[str, dict[str, int]]:
    """Write the labels for each tool; gives what its format has no place for, with counts."""
    labels = labels_of(result, meta)
    return {kind: dict(write_labels(labels, args.out_dir / kind, kind)) for kind in args.write}


def write_maps(args: argparse.Namespace, result: dict[str, Any], classes: tuple[str, ...]) -> None:
    """Write ``DIR/geojson/NAME.geojson`` of each image."""
    folder = args.out_dir / "geojson"
    check_writable(folder, "--out-dir")
    for image, lists in zip(result["images"], result["predictions"], strict=True):
        write_geojson(folder / f"{Path(image).stem}.geojson", image, lists, classes)


def print_summary(summary: dict[str, Any]) -> None:
    """The summary for people."""
    found = summary["detections"]
    listed = ", ".join(f"{name} {count}" for name, count in found.items())
    images = summary["images"]
    pace = f", {1000 * summary['seconds'] / images:.0f} ms an image" if images else ""
    print(
        f"{images} images, {sum(found.values())} detections" + (f" ({listed})" if listed else "")
        + pace
    )  # fmt: skip
    for what, place in summary["files"].items():
        print(f"{what}: {place}")
    for kind, counts in summary.get("left_out", {}).items():
        for what, count in counts.items():
            print(f"not written to {kind}'s labels: {what}: {count}")
    for name, reason in summary["failed"].items():
        print(f"left out: {name}: {reason}", file=sys.stderr)

"""``maskr check``: find problems in an annotation file or a folder, and in the images."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope

from mmdet_maskr.atomic_files import write_whole
from mmdet_maskr.bands import BandStatistics
from mmdet_maskr.cli.folder_check import check_folder
from mmdet_maskr.cli.output import only_json, print_json
from mmdet_maskr.cli.spelling import call
from mmdet_maskr.coco import check
from mmdet_maskr.coco.reader import read_annotations
from mmdet_maskr.datasets import wrappers
from mmdet_maskr.datasets.transforms.pipeline_check import loads_polygons_only
from mmdet_maskr.errors import UserError, no_file

LOUD_SHARE = 0.02  # of entries that a cleaned copy lacks


def from_config(config: str) -> tuple[dict, bool]:
    """``metainfo`` of a config's training data, and whether it loads masks as polygons alone.

    Annotations are not read.
    """
    if not Path(config).is_file():
        raise no_file("config file", config)
    cfg = Config.fromfile(config)
    init_default_scope(cfg.get("default_scope", "mmdet"))
    dataset = cfg.train_dataloader.dataset
    polygons = False
    for leaf in wrappers.leaves(dataset):
        polygons |= loads_polygons_only(Compose(leaf.get("pipeline", ())))
    return wrappers.metainfo_of(dataset), polygons


def bar(what: str):
    """A progress function: a bar on a terminal, a line every tenth elsewhere."""
    start, last = time.monotonic(), -1

    def progress(done: int, total: int) -> None:
        nonlocal last
        tenth = 10 * done // max(total, 1)
        text = f"{what}: {done}/{total}, {time.monotonic() - start:.0f} s"
        if sys.stderr.isatty():
            filled = 30 * done // max(total, 1)
            end = "\n" if done == total else ""
            print(f"\r[{'#' * filled:.<30}] {text} ", end=end, file=sys.stderr, flush=True)
        elif tenth > last:
            print(text, file=sys.stderr, flush=True)
        last = tenth

    return progress


def check_output(args: argparse.Namespace) -> None:
    """Make the folder of ``--fix``, and refuse a file that cannot be written, or is the input.

    Raises:
        UserError: ``--fix`` or its log is the annotation file or a folder, or its folder cannot be
            made.
    """
    if args.fix is None:
        return
    for path in (args.fix, args.fix.with_name(args.fix.name + ".log")):
        if path.exists() and path.resolve() == args.annotations.resolve():
            raise UserError(f"--fix {args.fix} is the input file: choose another file.")
        if path.is_dir():
            raise UserError(f"--fix {args.fix} is a folder: pass a file name.")
    try:
        args.fix.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--fix {args.fix} cannot be written: {error.strerror}.") from error


def write_clean(path: Path, content: dict, clean: dict, log: list[str]) -> None:
    """Write the cleaned copy and its log; say loudly where much of the file is lost.

    Raises:
        UserError: nothing would be left. The log is written all the same.
    """
    log_file = path.with_name(path.name + ".log")
    write_whole(log_file, "".join(f"{line}\n" for line in log))
    lost = {}
    for section in ("images", "annotations"):
        before, after = len(content[section]), len(clean[section])
        if before and not after:
            raise UserError(
                f"--fix {path} is not written: none of the {before} {section} can be fixed. "
                f"{log_file} lists the reasons."
            )
        if before - after > LOUD_SHARE * before:
            lost[section] = f"{before - after} of {before} {section}"
    write_whole(path, json.dumps(clean))
    print(f"{len(log)} changes; cleaned copy: {path}, changes: {log_file}")
    if lost:
        print(
            f"WARNING: {' and '.join(lost.values())} are missing in the cleaned copy, "
            f"because they cannot be fixed: see {log_file}.",
            file=sys.stderr,
        )


def run(args: argparse.Namespace) -> None:
    with only_json(args.json):
        document, wrong = _check_folder(args) if args.annotations.is_dir() else _check_file(args)
    if args.json:
        print_json(document)
    sys.exit(1 if wrong else 0)


def _check_file(args: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    """Check a file, print the table and write the cleaned copy.

    Gives what was found as a document, and whether it has errors.
    """
    check_output(args)
    if args.format is not None:
        raise UserError(f"--format works only with a folder, and {args.annotations} is not one.")
    if args.images is not None and not args.images.is_dir():
        raise UserError(f"there is no image folder {args.images.absolute()}.")
    wanted = Wanted(args)
    content = read_annotations(args.annotations)
    found, report = _look(args, wanted, content, args.images, args.keypoints)
    sizes = {key: len(content[key]) for key in ("images", "annotations", "categories")}
    print(f"{args.annotations}: {', '.join(f'{count} {key}' for key, count in sizes.items())}")
    print(report.table())
    if args.fix is not None:
        write_clean(args.fix, content, *check.cleaned(found))
    document = dict(file=str(args.annotations), **sizes, problems=report.rows())
    if report.bands is not None:
        document["bands"] = report.bands
    return document, report.errors > 0


def _check_folder(args: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    """As :func:`_check_file`, of a folder."""
    if args.images is not None:
        raise UserError(
            f"{args.images}: leave this argument out. A folder is checked with the images in it."
        )
    if args.fix is not None:
        raise UserError(
            f"--fix works only with an annotation file; {call('convert FOLDER OUT')} writes "
            "a clean copy."
        )
    wanted = Wanted(args)

    def look(content: dict, images: Path, keypoints: bool) -> check.Report:
        return _look(args, wanted, content, images, keypoints or args.keypoints)[1]

    return check_folder(args.annotations, args.format, wanted.classes, look)


class Wanted:
    """What the config of ``--config`` wants of annotations.

    Attributes:
        classes: names; None without a config.
        num_keypoints: of each class that has keypoints.
        polygons: whether masks are loaded as polygons alone.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.classes: list[str] | None = None
        self.num_keypoints: dict[str, int] = {}
        self.polygons = False
        if args.config is None:
            return
        metainfo, self.polygons = from_config(args.config)
        self.classes = list(metainfo["classes"])
        if "keypoints" in metainfo:
            having = metainfo.get("keypoint_classes", self.classes)
            self.num_keypoints = dict.fromkeys(having, len(metainfo["keypoints"]))


def _look(
    args: argparse.Namespace, wanted: Wanted, content: dict, images: Path | None, keypoints: bool
) -> tuple[Any, check.Report]:
    """Findings and report of a parsed file; ``images`` is the folder of its images, if any."""
    found = check.check_content(
        content, wanted.classes, keypoints, bar("annotations"), wanted.num_keypoints,
        wanted.polygons,
    )  # fmt: skip
    if args.bands and images is None:
        raise UserError("--bands needs images: pass their folder after the annotation file.")
    bands = BandStatistics() if args.bands else None
    if images is not None:
        check.check_files(found, images, bar("images"), bands)
    report = check.Report(args.first)
    for _, _, problem in found.problems:
        report.add(problem)
    if bands is not None:
        print("\n".join(bands.lines()))
        report.bands = bands.described()
    return found, report

"""The report about a trained model, in one HTML file."""

from __future__ import annotations

import contextlib
import io
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmdet_maskr.atomic_files import write_whole
from mmdet_maskr.coco.results import read_results
from mmdet_maskr.errors import UserError
from mmdet_maskr.evaluation.backends import EvaluationInput
from mmdet_maskr.evaluation.error_analysis.inputs import comparisons
from mmdet_maskr.folders import check_new_file
from mmdet_maskr.report import run_files
from mmdet_maskr.report.data_facts import facts_of
from mmdet_maskr.report.gallery import Gallery, drawable_records
from mmdet_maskr.report.page import number, percent, render
from mmdet_maskr.report.pictures import Album
from mmdet_maskr.report.quality import (
    KINDS,
    Quality,
    quality_of,
    suspicious_labels,
    worst_images,
)
from mmdet_maskr.report.scores import NAMES, score_sections
from mmdet_maskr.report.training import training_charts
from mmdet_maskr.visualization.browse import draw_item

WORST, EXAMPLES, SUSPICIOUS = 12, 8, 12  # pictures; suspicious ones of each kind
SUSPICION_TITLES = {
    "unlabeled": "Found with a high score, not labeled",
    "class": "Labeled as one class, found as another",
    "never found": "Labeled, and never found at any score",
}


def write_report(
    work_dir: str | Path,
    *,
    config: str | Path | None = None,
    checkpoint: str | Path | None = None,
    detections: Sequence[str | Path] = (),
    out: str | Path | None = None,
    title: str | None = None,
    device: str | None = None,
    speed: run_files.Speed | None = None,
    commands: Sequence[tuple[str, str]] | None = None,
) -> Path:
    """Write a report about a trained model: one HTML file of at most 8 MB that needs no network.

    Args:
        work_dir: of the training; curves are read from its logs.
        config: of the model; None for the one in ``work_dir``.
        checkpoint: None for the best one in ``work_dir``, or its last.
        detections: files of COCO results, or one of ``maskr test --out``, of the config's test
            data. Without any, the model detects on them, and ``report.detections.json`` next to
            the page holds the results.
        out: path of the page; None for ``report.html`` in ``work_dir``.
        title: of the page; None for the config's name.
        device: to detect on; None for the first accelerator, or the CPU.
        speed: how long detecting took, where ``detections`` are given.
        commands: pairs of a heading and a command instead of the usual three.

    Returns:
        The path of the page.

    Raises:
        UserError: no such files; test data without a COCO annotation file.
    """
    # 1. config, checkpoint and test data
    work_dir = Path(work_dir)
    if not work_dir.is_dir():
        raise UserError(f"there is no work dir {work_dir.absolute()}.")
    config = run_files.find_config(work_dir) if config is None else Path(config)
    checkpoint = run_files.find_checkpoint(work_dir) if checkpoint is None else Path(checkpoint)
    out = work_dir / "report.html" if out is None else Path(out)
    check_new_file(out, "the report")
    cfg = run_files.read_run_config(config)
    test = run_files.build_dataset(cfg, "test")
    if test is None:
        raise UserError(f"{config} has no test_dataloader, and a report needs its images.")
    leaf = run_files.the_leaf(test)
    # 2. detections, matched with the ground truth
    if not detections:
        found = out.with_name(f"{out.stem}.detections.json")
        speed = run_files.detect(config, checkpoint, leaf, found, device)
        detections = [found]
    compared = {} if _is_empty(detections) else _compared(leaf, detections)
    limit = run_files.most_detections(cfg)
    qualities = {kind: quality_of(compared[kind]) for kind in KINDS if kind in compared}
    # 3. sections of the page; pictures are collected in the album
    album = Album()
    content: dict[str, Any] = dict(
        title=title or f"Report: {config.stem}",
        made=time.strftime("%Y-%m-%d %H:%M"),
        commands=commands or run_files.commands(config, checkpoint, work_dir),
        files=[
            f"config: {config}",
            f"checkpoint: {checkpoint} ({checkpoint.stat().st_size / 2**20:.0f} MB)",
            f"annotations: {leaf.ann_file}",
        ],
        speed=_speed_text(speed),
        **_data(cfg, test, album),
        charts=training_charts(work_dir),
    )
    if qualities:
        content.update(score_sections(qualities), notes=_notes(compared, limit))
        content.update(_pictures(qualities, compared, leaf, album))
    else:
        content["notes"] = [
            "The model finds nothing on the test images, at any score that its test_cfg lets "
            "through: train it for longer."
        ]
    # 4. the page
    content["tiles"] = _tiles(qualities, content["data"], speed)
    content["sources"] = album.sources()
    write_whole(out, render(content))
    return out


def _data(cfg: Any, test: Any, album: Album) -> dict:
    train = run_files.build_dataset(cfg, "train")
    splits = [("train", train)] if train is not None else []
    data = [(name, facts_of(dataset)) for name, dataset in (*splits, ("test", test))]
    shown = test if train is None else train
    count = min(EXAMPLES, len(shown))
    examples = []
    for index in np.linspace(0, len(shown) - 1, count).round().astype(int).tolist():
        try:
            path, picture = draw_item(shown, index, "original")
        except UserError:  # an image that cannot be read
            continue
        name = Path(path).name
        examples.append(
            dict(picture=album.add(picture), title=name, text="", alt=f"{name} with its labels")
        )
    split = "test" if train is None else "train"
    return dict(data=data, examples=examples, examples_title=f"Examples of {split}")


def _pictures(qualities: Mapping[str, Quality], compared: Mapping, leaf: Any, album: Album) -> dict:
    main = next(iter(qualities.values()))
    truth = compared[main.kind].truth
    infos = [leaf.get_data_info(index) for index in range(len(leaf))]
    paths = {info["img_id"]: info["img_path"] for info in infos}
    gallery = Gallery(main, truth, drawable_records(compared), paths, leaf.metainfo, album)
    suspicious = gallery.suspicious(suspicious_labels(main, truth.anns, SUSPICIOUS))
    groups = [
        (title, [entry for entry in suspicious if entry["kind"] == kind])
        for kind, title in SUSPICION_TITLES.items()
    ]
    return dict(
        worst=gallery.worst(worst_images(main, WORST)),
        suspicious=[group for group in groups if group[1]],
    )


def _is_empty(detections: Sequence[str | Path]) -> bool:
    """Whether the files are COCO results without an entry, as of a model that finds nothing."""
    files = [Path(file) for file in detections]
    return all(file.suffix == ".json" and file.is_file() for file in files) and not any(
        read_results(file) for file in files
    )


def _compared(leaf: Any, detections: Sequence[str | Path]) -> dict[str, EvaluationInput]:
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints while it reads
        return comparisons(leaf.ann_file, detections, meta=dict(leaf.metainfo))


def _notes(compared: Mapping[str, EvaluationInput], limit: int | None) -> list[str]:
    """What holds the scores back and is no fault of the weights."""
    comparison = next(iter(compared.values()))
    truth, found = comparison.truth, Counter(comparison.found.image_ids)
    if limit is None:
        return []
    crowded = [i for i, n in found.items() if n >= limit and len(truth.imgToAnns[i]) > limit]
    if not crowded:
        return []
    most = max(len(truth.imgToAnns[i]) for i in crowded)
    return [
        f"In {len(crowded)} of {len(truth.imgs)} images the model gives {limit} detections, the "
        f"most that model.test_cfg.rcnn.max_per_img allows, and more objects are there, up to "
        f"{most}: raise it, and max_dets of the evaluator above 100."
    ]


def _tiles(
    qualities: Mapping[str, Quality], data: Sequence, speed: run_files.Speed | None
) -> list[tuple[str, str, str]]:
    tiles = [
        (f"{NAMES[kind]}: AP", percent(q.analysis["ap"]["all"]["mAP"]), "COCO's, %")
        for kind, q in qualities.items()
    ]
    for main in list(qualities.values())[:1]:
        score = number(main.overall.threshold)
        tiles.append(("Best F1", percent(main.overall.f1), f"%, at score {score}"))
    tiles += [(f"{name} images", str(f["images"]), f"{f['objects']} objects") for name, f in data]
    if speed is not None:
        rate = 1000 * speed.seconds / speed.images
        tiles.append(("Speed", f"{rate:.0f} ms", f"an image, {speed.device}"))
    return tiles


def _speed_text(speed: run_files.Speed | None) -> str:
    if speed is None:
        return "Not measured: the detections were given."
    rate = 1000 * speed.seconds / speed.images
    return (
        f"{rate:.0f} ms an image, one after another, from the file to the masks: {speed.images} "
        f"images in {speed.seconds:.1f} s on {speed.device}."
    )

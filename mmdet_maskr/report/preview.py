"""A page about a running training: its inputs, curves and current detections."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import InstanceData

from mmdet_maskr.atomic_files import write_whole
from mmdet_maskr.deploy.images import read_image
from mmdet_maskr.report.page import render
from mmdet_maskr.report.pictures import Album
from mmdet_maskr.report.training import training_charts
from mmdet_maskr.visualization.browse import draw_packed
from mmdet_maskr.visualization.draw import shown
from mmdet_maskr.visualization.mask_arrays import one_by_one
from mmdet_maskr.visualization.panels import Panel, draw_panels, make_panel
from mmdet_maskr.visualization.skeleton import KEYPOINT_THR, with_visibility

Titled = tuple[str, np.ndarray]  # an image's name, and a picture (H, W, 3) RGB

REFRESH = 20  # seconds after which a browser reads the page again
MOST_BYTES = 2_000_000  # of pictures: the page is written often


def draw_batch(batch: Mapping, meta: Mapping, count: int) -> list[Titled]:
    """The first images of a batch as the training sees them, with their ground truth.

    Args:
        batch: as a data loader gives it: lists ``inputs`` and ``data_samples``.
        meta: of the dataset.
        count: at most.
    """
    pairs = zip(batch["inputs"], batch["data_samples"], strict=True)
    drawn = []
    for inputs, sample in list(pairs)[:count]:
        path, picture = draw_packed(dict(inputs=inputs, data_samples=sample), meta, late=False)
        drawn.append((Path(path).name, picture))
    return drawn


def draw_result(sample: DetDataSample, meta: Mapping, score_thr: float) -> Titled:
    """What a model finds on an image, next to the ground truth where the sample has it.

    Args:
        sample: of a validation, with ``img_path``; all in pixels of the file.
        meta: of the dataset.
        score_thr: detections below it are left out.

    Raises:
        UserError: the image cannot be read.
    """
    sample = sample.cpu()
    image = shown(read_image(sample.img_path))
    panels: list[Panel] = []
    if "gt_instances" in sample and "bboxes" in sample.gt_instances:
        panels.append(_panel("ground truth", sample.gt_instances, meta, None))
    found = sample.pred_instances
    found = found[found.scores >= score_thr]
    panels.append(_panel("prediction", found, meta, panels[0] if panels else None))
    return Path(sample.img_path).name, draw_panels(image, panels, meta)


def write_preview(
    out: Path,
    title: str,
    tiles: Sequence[tuple[str, str, str]],
    batch: Sequence[Titled],
    results: Sequence[Titled],
    step: str,
    ended: bool,
) -> None:
    """Write the page.

    Args:
        out: its path; curves are read from the logs in its folder.
        title: of the page.
        tiles: numbers: name, value, note.
        batch: of :func:`draw_batch`.
        results: of :func:`draw_result`, at ``step``.
        step: of the latest validation.
        ended: whether the training is over; else a browser reads the page again and again.

    Raises:
        OSError: it cannot be written.
    """
    album = Album()

    def entries(pictures: Sequence[Titled], what: str) -> list[dict]:
        return [
            dict(picture=album.add(picture), title=name, text="", alt=f"{name}: {what}")
            for name, picture in pictures
        ]

    content = dict(
        title=title,
        made=time.strftime("%Y-%m-%d %H:%M:%S"),
        refresh=None if ended else REFRESH,
        tiles=tiles,
        examples=entries(batch, "as the training sees it, with its labels"),
        examples_title="What the training sees",
        charts=training_charts(out.parent),
        live=entries(results, "ground truth and prediction"),
        live_step=step,
    )
    write_whole(out, render({**content, "sources": album.sources(MOST_BYTES)}), durable=False)


def _panel(title: str, found: InstanceData, meta: Mapping, next_to: Panel | None) -> Panel:
    keypoints = None
    if "keypoints" in found and len(found):
        keypoints = np.asarray(found.keypoints, float)
        if "keypoint_scores" in found:
            keypoints = with_visibility(keypoints, found.keypoint_scores, KEYPOINT_THR)
    return make_panel(
        title,
        get_box_tensor(found.bboxes).numpy(),
        found.labels.tolist(),
        meta,
        found.scores.tolist() if "scores" in found else None,
        one_by_one(found.masks) if "masks" in found else None,
        keypoints,
        next_to,
    )

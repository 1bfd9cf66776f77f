"""Backends of COCO evaluation: pycocotools, or a faster library with the same numbers.

A backend gives COCO's arrays of precision and recall; everything after that (the statistics, the
scores of classes) is common, and pycocotools' own. Equality is tested on random and degenerate
detections (tests/evaluation/test_backends.py): hotcoco's arrays are equal bit by bit,
faster_coco_eval's differ by 2.2e-16. Its and hotcoco's statistics would not do: for
``proposal_nums`` other than COCO's they take mAP at another number of detections.
"""

from __future__ import annotations

import numbers
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module, metadata
from typing import Any

import numpy as np
from mmdet.datasets.api_wrappers import COCO, COCOeval
from mmengine.utils import digit_version

from mmdet_maskr.coco.detections import KINDS, Detections
from mmdet_maskr.coco.form import to_sides
from mmdet_maskr.errors import UserError
from mmdet_maskr.evaluation import scores

REFERENCE = "pycocotools"
FIELDS = dict(bbox=(), segm=("segmentation",), keypoints=("keypoints", "num_keypoints"))


@dataclass(frozen=True)
class EvaluationInput:
    """Detections, the ground truth they are compared with, and what counts.

    Args:
        kind: 'bbox', 'segm' or 'keypoints'.
        truth: all annotations.
        found: with boxes, masks or keypoints alone, as ``kind`` says.
        category_ids: categories that are scored.
        image_ids: images that are scored.
        thresholds: of IoU or OKS.
        max_dets: how many detections an image and category count, ascending.
        use_categories: False takes all categories for one (proposals).
        sigmas: K, one a keypoint.
        counted: which of ``max_dets`` average precision is that of. None summarizes as pycocotools
            does: mAP is that of 100, the others of the largest.
    """

    kind: str
    truth: COCO
    found: Detections
    category_ids: Sequence[int]
    image_ids: Sequence[int]
    thresholds: np.ndarray
    max_dets: Sequence[int]
    use_categories: bool = True
    sigmas: Sequence[float] | None = None
    counted: int | None = None

    def set_params(self, params: Any) -> None:
        """Fill in a library's ``Params``, which have pycocotools' names."""
        params.imgIds = sorted(set(self.image_ids))
        params.catIds = sorted(set(self.category_ids))
        params.iouThrs = np.asarray(self.thresholds, np.float64)
        params.maxDets = [int(count) for count in self.max_dets]
        params.useCats = bool(self.use_categories)
        if self.sigmas is not None:
            params.kpt_oks_sigmas = np.asarray(self.sigmas, np.float64)


Arrays = tuple[np.ndarray, np.ndarray]  # precision (T, R, K, A, M) and recall (T, K, A, M)


def evaluate(comparison: EvaluationInput, backend: str) -> COCOeval:
    """Compare, and summarize as pycocotools does.

    Args:
        comparison: what with what.
        backend: a name of :data:`BACKENDS`.

    Returns:
        pycocotools' COCOeval with ``params`` (categories ascending), ``eval`` and ``stats``; with
        ``counted`` these are :func:`.scores.box_items` of ``max_dets``, or KEYPOINT_ITEMS.
    """
    precision, recall = BACKENDS[backend].run(comparison)
    evaluation = COCOeval(comparison.truth, None, comparison.kind)
    comparison.set_params(evaluation.params)
    evaluation.eval = dict(precision=precision, recall=recall)
    if comparison.counted is None:
        evaluation.summarize()
    else:
        keypoints = comparison.kind == "keypoints"
        items = scores.KEYPOINT_ITEMS if keypoints else scores.box_items(comparison.max_dets)
        found = scores.statistics(evaluation, items, comparison.counted)
        evaluation.stats = np.array(list(found.values()))
    return evaluation


def choose(comparison: EvaluationInput, wanted: str) -> tuple[str, str]:
    """The backend for a comparison, and a few words on it for the log.

    Args:
        comparison: what is to be compared.
        wanted: 'auto' for the fastest that is installed and known to give pycocotools' numbers
            here, or a name of :data:`BACKENDS`.

    Raises:
        UserError: the wanted one cannot evaluate this.
    """
    reason = _only_reference(comparison)
    if wanted != "auto":
        reason = reason or _waits(wanted)
        if reason and wanted != REFERENCE:
            raise UserError(
                f"backend={wanted!r} cannot evaluate {comparison.kind} here: {reason}. "
                f"{REFERENCE!r} can."
            )
        return wanted, _named(wanted)
    if reason:
        return REFERENCE, f"{_named(REFERENCE)}, because {reason}"
    name = next(
        name
        for name, backend in BACKENDS.items()
        if comparison.kind in backend.equal_on and not _lacking(name) and not _waits(name)
    )
    return name, _named(name)


def check_backend(name: str) -> None:
    """Check an option ``backend`` before anything is evaluated.

    Raises:
        UserError: an unknown name, or a library that is not installed or too old.
    """
    if name != "auto" and name not in BACKENDS:
        raise UserError(f"backend={name!r}: it must be one of {('auto', *BACKENDS)}.")
    lacking = name != "auto" and _lacking(name)
    if lacking:
        backend = BACKENDS[name]
        raise UserError(
            f"backend={name!r}: {lacking}. Install it by "
            f"\"pip install '{backend.package}>={backend.since}'\", or take backend='auto'."
        )


def installed() -> list[str]:
    """Names of the backends that can be used here, the fastest first."""
    return [name for name in BACKENDS if not _lacking(name)]


# ----------------------------------------------------------------------------------- the libraries
def _pycocotools(comparison: EvaluationInput) -> Arrays:
    truth = comparison.truth
    found = truth.loadRes(comparison.found.to_coco())
    evaluation = COCOeval(truth, found, comparison.kind)
    comparison.set_params(evaluation.params)
    evaluation.evaluate()
    evaluation.accumulate()
    return evaluation.eval["precision"], evaluation.eval["recall"]


def _faster_coco_eval(comparison: EvaluationInput) -> Arrays:
    library = import_module("faster_coco_eval")
    truth = library.COCO(_needed_of(comparison.truth, comparison.kind))
    found = truth.loadRes(comparison.found.to_coco())
    evaluation = library.COCOeval_faster(truth, found, comparison.kind)
    comparison.set_params(evaluation.params)
    evaluation.evaluate()
    evaluation.accumulate()
    return evaluation.eval["precision"], evaluation.eval["recall"]


_hotcoco_process: int | None = None  # that has its threads: they do not come along in a fork


def _hotcoco(comparison: EvaluationInput) -> Arrays:
    global _hotcoco_process
    library = import_module("hotcoco")
    _hotcoco_process = os.getpid()
    truth = library.COCO(_needed_of(comparison.truth, comparison.kind))
    found = comparison.found
    if comparison.kind == "keypoints":
        detections = truth.load_res(found.to_coco())
    else:  # columns are read faster than a dict a detection; masks have places of their own
        count = len(found.scores)
        boxes = np.zeros((count, 4)) if found.boxes is None else to_sides(found.boxes)
        columns = (found.image_ids, *boxes.T, found.scores, found.category_ids)
        rows = np.stack(columns, axis=1).astype(np.float64)
        detections = truth.load_res(rows, segmentation=found.masks)
        if comparison.kind == "segm" and count:
            areas = library.mask.area(found.masks)
            detections.update_anns(ids=np.arange(1, count + 1), area=areas)
    evaluation = library.COCOeval(truth, detections, comparison.kind)
    comparison.set_params(evaluation.params)
    evaluation.evaluate()
    evaluation.accumulate()
    arrays = evaluation.eval
    return arrays["precision"], arrays["recall"]


@dataclass(frozen=True)
class Backend:
    """A library: its name on PyPI, the oldest version compared, on what it gave equal numbers."""

    package: str
    since: str
    equal_on: tuple[str, ...]
    run: Callable[[EvaluationInput], Arrays]


BACKENDS = {  # the fastest first
    "hotcoco": Backend("hotcoco", "1.3.0", KINDS, _hotcoco),
    "faster_coco_eval": Backend("faster-coco-eval", "1.8.0", KINDS, _faster_coco_eval),
    REFERENCE: Backend("pycocotools", "2", KINDS, _pycocotools),
}


# ------------------------------------------------------------------------------------------ inputs
def _needed_of(truth: COCO, kind: str) -> dict:
    """The ground truth with copies of its annotations, and without what evaluation ignores.

    The libraries are strict about types, also those of fields that no one reads; and some write
    into the annotations.
    """
    fields = ("id", "image_id", "category_id", "bbox", "area", "iscrowd", *FIELDS[kind])
    return dict(
        images=[_part(image, ("id", "width", "height")) for image in truth.dataset["images"]],
        categories=[_part(category, ("id", "name")) for category in truth.dataset["categories"]],
        annotations=[_part(annotation, fields) for annotation in truth.dataset["annotations"]],
    )


def _part(entry: dict, fields: Sequence[str]) -> dict:
    return {field: entry[field] for field in fields if field in entry}


def _only_reference(comparison: EvaluationInput) -> str:
    """Why pycocotools alone evaluates this, or nothing."""
    sections = comparison.truth.dataset
    for section in ("images", "categories"):
        if not all(_is_count(entry["id"]) for entry in sections[section]):
            return f"some ids of {section} are no integers from 0"
    found = comparison.found
    for name in ("scores", "boxes", "keypoints"):
        column = getattr(found, name)
        if column is not None and np.isnan(column).any():
            return f"some {name} are NaN"
    return ""


def _is_count(value: object) -> bool:
    return isinstance(value, numbers.Integral) and 0 <= int(value) < 2**53  # exact as float64


def _waits(name: str) -> str:
    """Why a backend would wait forever; nothing where it would not."""
    if name == "hotcoco" and _hotcoco_process not in (None, os.getpid()):
        return "this process was forked from one that has its threads"
    return ""


def _lacking(name: str) -> str:
    """Why a backend cannot be used; nothing where it can."""
    backend, version = BACKENDS[name], _version(name)
    if name == REFERENCE:  # any package may bring it: mmdet cannot be imported without
        return ""
    if version is None:
        return f"the package {backend.package} is not installed"
    if digit_version(version) < digit_version(backend.since):
        return f"{backend.package} {version} is older than {backend.since}"
    return ""


def _version(name: str) -> str | None:
    try:
        return metadata.version(BACKENDS[name].package)
    except metadata.PackageNotFoundError:
        return None


def _named(name: str) -> str:
    return f"{name} {_version(name) or ''}".strip()

"""Matches detections with ground truth as COCO does.

Symbols: D detections, G annotations, P pairs of a detection and an annotation.
"""

from __future__ import annotations

import contextlib
import io
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from mmdet.datasets.api_wrappers import COCOeval

from mmdet_maskr.evaluation.backends import EvaluationInput

MAX_DETS = 100  # an image and class; COCO's


@dataclass(frozen=True)
class Matching:
    """D detections and G annotations of all images, in COCO's order: by category, then image.

    Args:
        image_ids: (D,) of the detections.
        categories: (D,) category ids.
        scores: (D,).
        correct: (D,) bool, matched with an annotation of its class.
        ignored: (D,) bool, matched with a crowd or another annotation that does not count; such
            detections are neither right nor wrong.
        matched: (D,) row of the annotation that it is matched with, or -1.
        gt_ids: (G,) ids of the annotations that count; crowds are not among them.
        gt_images: (G,) their images' ids.
        gt_categories: (G,).
        gt_found: (G,) bool, matched with a detection.
        pairs: (P, 2) rows of a detection and an annotation on the same image, of any classes, where
            neither is ignored and they touch.
        similarities: (P,) their IoU or OKS, above 0.
    """

    image_ids: np.ndarray
    categories: np.ndarray
    scores: np.ndarray
    correct: np.ndarray
    ignored: np.ndarray
    matched: np.ndarray
    gt_ids: np.ndarray
    gt_images: np.ndarray
    gt_categories: np.ndarray
    gt_found: np.ndarray
    pairs: np.ndarray
    similarities: np.ndarray


def match(comparison: EvaluationInput, threshold: float = 0.5) -> Matching:
    """Match by pycocotools: each detection of a class, best score first, with the nearest free one.

    Args:
        comparison: what with what; its ``thresholds`` and ``max_dets`` are not used.
        threshold: the least IoU or OKS.
    """
    evaluation = _evaluated(comparison, threshold)
    found = {
        annotation["id"]: annotation for annotation in evaluation.cocoDt.dataset["annotations"]
    }
    truth = evaluation.cocoGt.anns
    entries = [entry for entry in evaluation.evalImgs if entry is not None]
    det_ids = _joined([entry["dtIds"] for entry in entries], int)
    match_ids = _joined([entry["dtMatches"][0] for entry in entries], int)
    ignored = _joined([entry["dtIgnore"][0] for entry in entries], bool)
    gt_ids = _joined([entry["gtIds"] for entry in entries], int)
    gt_found = _joined([entry["gtMatches"][0] > 0 for entry in entries], bool)
    counts = ~_joined([entry["gtIgnore"] for entry in entries], bool)
    gt_ids, gt_found = gt_ids[counts], gt_found[counts]
    row_of = {int(gt_id): row for row, gt_id in enumerate(gt_ids)}
    pairs, similarities = _pairs(comparison, found, truth, det_ids[~ignored], gt_ids)
    rows = np.flatnonzero(~ignored)
    pairs[:, 0] = rows[pairs[:, 0]]
    return Matching(
        image_ids=_column([found[i]["image_id"] for i in det_ids]),
        categories=_column([found[i]["category_id"] for i in det_ids]),
        scores=np.array([found[i]["score"] for i in det_ids], float),
        correct=(match_ids > 0) & ~ignored,
        ignored=ignored,
        matched=np.array([row_of.get(int(i), -1) for i in match_ids], int),
        gt_ids=gt_ids,
        gt_images=_column([truth[i]["image_id"] for i in gt_ids]),
        gt_categories=_column([truth[i]["category_id"] for i in gt_ids]),
        gt_found=gt_found,
        pairs=pairs,
        similarities=similarities,
    )


def _evaluated(comparison: EvaluationInput, threshold: float) -> COCOeval:
    truth = comparison.truth
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its timings
        found = truth.loadRes(comparison.found.to_coco())
        evaluation = COCOeval(truth, found, comparison.kind)
        comparison.set_params(evaluation.params)
        params = evaluation.params
        params.iouThrs, params.maxDets = np.array([threshold]), [MAX_DETS]
        params.areaRng, params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
    return evaluation


def _pairs(
    comparison: EvaluationInput, found: dict, truth: dict, det_ids: np.ndarray, gt_ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of places in ``det_ids`` and ``gt_ids`` on the same image, and their similarities."""
    probe = COCOeval(iouType=comparison.kind)
    probe.params.maxDets = [len(det_ids) + 1]
    if comparison.sigmas is not None:
        probe.params.kpt_oks_sigmas = np.asarray(comparison.sigmas, float)
    measure = probe.computeOks if comparison.kind == "keypoints" else probe.computeIoU
    by_image: dict = defaultdict(lambda: ([], []))
    for side, (ids, table) in enumerate(((det_ids, found), (gt_ids, truth))):
        for place, number in enumerate(ids):
            by_image[table[number]["image_id"]][side].append(place)
    pairs, similarities = [np.zeros((0, 2), int)], [np.zeros(0)]
    for image_id, (dets, gts) in by_image.items():
        if not dets or not gts:
            continue
        # measured in the order of scores: bring them into it
        dets = np.array(dets)[
            np.argsort([-found[det_ids[d]]["score"] for d in dets], kind="stable")
        ]
        probe.params.catIds = [0]
        probe._dts[image_id, 0] = [found[det_ids[d]] for d in dets]
        probe._gts[image_id, 0] = [truth[gt_ids[g]] for g in gts]
        values = np.asarray(measure(image_id, 0))
        rows, columns = np.nonzero(values > 0)
        pairs.append(np.stack([dets[rows], np.array(gts)[columns]], axis=1))
        similarities.append(values[rows, columns])
    return np.concatenate(pairs), np.concatenate(similarities)


def _joined(parts: list, dtype: type) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype), *(np.asarray(part, dtype) for part in parts)])


def _column(values: list) -> np.ndarray:
    return np.array(values) if values else np.zeros(0, int)

"""Reads what is compared: annotation file or config, and results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.registry import init_default_scope

from mmdet_maskr.coco.detections import FIELDS, KINDS, Detections
from mmdet_maskr.coco.form import compressed
from mmdet_maskr.coco.keypoint_meta import COCO_PERSON
from mmdet_maskr.coco.results import check_results, read_results
from mmdet_maskr.datasets import wrappers
from mmdet_maskr.engine.config_reading import read_config
from mmdet_maskr.engine.data_root import replace_data_root
from mmdet_maskr.errors import UserError
from mmdet_maskr.evaluation.backends import EvaluationInput
from mmdet_maskr.evaluation.coco_metric import CocoInstanceMetric
from mmdet_maskr.evaluation.ground_truth import number_annotations
from mmdet_maskr.safe_pickle import load_pickle

SAMPLE = {"img_id", "pred_instances"}
# what reading values of any kind as those of detections ends in
_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, RuntimeError,
               OverflowError)  # fmt: skip


def comparisons(
    truth: str | Path,
    results: Sequence[str | Path],
    data_root: str | None = None,
    meta: dict | None = None,
) -> dict[str, EvaluationInput]:
    """What can be compared of boxes, masks and keypoints: those that the results have.

    Args:
        truth: COCO annotation file, or a config whose ``test_evaluator`` names one. An annotation
            file alone does for keypoints only if they are those of COCO's persons.
        results: files of COCO results, or one that ``maskr test --out`` wrote. Masks are taken
            from the first file that has them, and so on.
        data_root: the dataset's folder instead of the config's.
        meta: of the dataset, with an annotation file: its classes, and what keypoints need.

    Returns:
        Some of 'bbox', 'segm' and 'keypoints'.

    Raises:
        UserError: files that are none, or do not fit each other.
    """
    truth = Path(truth)
    if not truth.is_file():
        raise UserError(f"there is no config or annotation file {truth.absolute()}.")
    options = dict(ann_file=str(truth))
    if truth.suffix != ".json":
        options, meta = _of(truth, data_root)
    found: dict[str, tuple[Path, list[dict]]] = {}
    for file in map(Path, results):
        entries = _read(file)
        for kind in KINDS:
            try:
                has_any = any(_has(entry, kind) for entry in entries)
            except _UNREADABLE as error:
                raise UserError(
                    f"{file} is not a file written by maskr test --out ({type(error).__name__}: "
                    f"{str(error)[:200]})."
                ) from error
            if has_any:
                found.setdefault(kind, (file, entries))
    if not found:
        raise UserError(f"{', '.join(map(str, results))}: there are no detections.")
    metric = CocoInstanceMetric(**options, metric=list(found))
    if meta is None:
        meta = _meta_of(metric.truth_of("bbox").dataset["categories"])
    if "keypoints" in found and "keypoint_sigmas" not in meta:
        raise UserError(
            f"{found['keypoints'][0]} has keypoints, but {truth} has no names and sigmas "
            "for them: pass the config instead of the annotation file."
        )
    metric.dataset_meta = meta
    for kind in found:
        number_annotations(metric.truth_of(kind))
    return {
        kind: metric.comparison(kind, _detections(kind, entries, file, metric))
        for kind, (file, entries) in found.items()
    }


def _meta_of(categories: Sequence[Mapping]) -> dict:
    """What an annotation file tells: its classes, and keypoints if they are COCO's persons'."""
    meta: dict = dict(classes=tuple(dict.fromkeys(c["name"] for c in categories)))
    with_keypoints = [c for c in categories if c.get("keypoints")]
    if with_keypoints and all(
        tuple(c["keypoints"]) == COCO_PERSON["keypoints"] for c in with_keypoints
    ):
        names = tuple(category["name"] for category in with_keypoints)
        meta.update(COCO_PERSON, keypoint_classes=names)
    return meta


def _of(config: Path, data_root: str | None) -> tuple[dict, dict]:
    cfg = read_config(str(config))
    if data_root is not None:
        if "data_root" not in cfg:
            raise UserError(f"{config} has no data_root that --data-root could replace.")
        replace_data_root(cfg, cfg.data_root, data_root)
    init_default_scope(cfg.get("default_scope", "mmdet"))
    evaluators = cfg.get("test_evaluator", ())
    evaluators = [evaluators] if isinstance(evaluators, Mapping) else list(evaluators)
    evaluator = next((e for e in evaluators if e.get("ann_file")), None)
    if evaluator is None or "test_dataloader" not in cfg:
        raise UserError(f"{config} has no test_evaluator with ann_file: pass an annotation file.")
    wanted = ("ann_file", "keypoint_ann_file", "sort_categories", "backend_args", "iou_thrs",
              "crowds")  # fmt: skip
    options = {key: evaluator[key] for key in wanted if key in evaluator}
    return options, wrappers.metainfo_of(cfg.test_dataloader.dataset)


def _read(file: Path) -> list[dict]:
    """A file's entries: COCO's records, a detection each, or data samples, an image each."""
    if not file.is_file():
        raise UserError(f"there is no results file {file.absolute()}.")
    if file.suffix in (".pkl", ".pickle"):
        with file.open("rb") as opened:
            samples = load_pickle(opened)
        if not _all_have(samples, SAMPLE):
            raise UserError(
                f"{file} is not a file written by maskr test --out: it must have a list of samples."
            )
        return samples
    return read_results(file)


def _all_have(entries: Any, keys: set[str]) -> bool:
    if not isinstance(entries, list):
        return False
    return all(isinstance(entry, dict) and keys <= entry.keys() for entry in entries)


def _has(entry: dict, kind: str) -> bool:
    """Whether a record has a value of this kind, or a sample has them of some detection."""
    instances = entry.get("pred_instances")
    if instances is None:
        return bool(entry.get(FIELDS[kind]))
    if kind == "keypoints":
        return "keypoints" in instances and bool((instances["keypoint_scores"] != 0).any())
    return len(instances["labels"]) > 0 and (kind == "bbox" or "masks" in instances)


def _detections(
    kind: str, entries: list[dict], file: Path, metric: CocoInstanceMetric
) -> Detections:
    truth = metric.truth_of(kind)
    try:
        if SAMPLE <= entries[0].keys():
            found = ((entry["img_id"], entry["pred_instances"]) for entry in entries)
            detections = Detections.of(found, metric.ids_of(kind), {kind})
        else:
            detections = Detections.from_coco(entries, kind)
    except _UNREADABLE as error:
        field = FIELDS[kind]
        raise UserError(f"{file}: {field} of some detections cannot be read: {error}.") from error
    columns = (detections.scores, detections.boxes, detections.keypoints)
    if not all(column is None or np.isfinite(column).all() for column in columns):
        raise UserError(f"{file}: {FIELDS[kind]} or scores of some detections are not finite.")
    named = zip(detections.image_ids, detections.category_ids, strict=True)
    masks = detections.masks
    check_results(
        [
            dict(image_id=image, category_id=category, segmentation=masks[i] if masks else None)
            for i, (image, category) in enumerate(named)
        ],
        truth.imgs,
        truth.cats,
        file,
        truth.annotation_file,
    )
    if masks is None:
        return detections
    return replace(detections, masks=[compressed(mask, *mask["size"]) for mask in masks])

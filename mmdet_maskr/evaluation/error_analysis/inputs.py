"""Reading what is compared: an annotation file or a config, and results of a test or inferencer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmdet_maskr.coco.detections import Detections
from mmdet_maskr.datasets import wrappers
from mmdet_maskr.datasets.keypoint_meta import COCO_PERSON
from mmdet_maskr.engine.data_root import replace_data_root
from mmdet_maskr.errors import UserError
from mmdet_maskr.evaluation.backends import EvaluationInput
from mmdet_maskr.evaluation.coco_metric import CocoInstanceMetric
from mmdet_maskr.evaluation.ground_truth import GroundTruthFile, number_annotations
from mmdet_maskr.safe_files import load_pickle

FIELDS = dict(bbox="bbox", segm="segmentation", keypoints="keypoints")


def comparisons(
    truth: str | Path, results: Sequence[str | Path], data_root: str | None = None
) -> dict[str, EvaluationInput]:
    """What can be compared of boxes, masks and keypoints: those that the results have.

    Args:
        truth: COCO annotation file, or a config whose ``test_evaluator`` names one. An annotation
            file alone does for keypoints only if they are those of COCO's persons.
        results: files of COCO results, or one that ``tools/test.py --out`` wrote. Masks are taken
            from the first file that has them, and so on.
        data_root: the data set's folder instead of the config's.

    Returns:
        Some of 'bbox', 'segm' and 'keypoints'.

    Raises:
        UserError: files that are none, or do not fit each other.
    """
    truth = Path(truth)
    if not truth.is_file():
        raise UserError(f"there is no config or annotation file {truth.absolute()}.")
    options, meta = _from_annotations(truth) if truth.suffix == ".json" else _of(truth, data_root)
    found: dict[str, tuple[Path, list[dict]]] = {}
    for file in map(Path, results):
        records = _read(file, meta["classes"], options["ann_file"])
        for kind, field in FIELDS.items():
            if any(field in record for record in records):
                found.setdefault(kind, (file, records))
    if not found:
        raise UserError(f"{', '.join(map(str, results))}: there are no detections.")
    if "keypoints" in found and "keypoint_sigmas" not in meta:
        raise UserError(
            f"{found['keypoints'][0]} has keypoints, whose names and sigmas {truth} does not tell: "
            "name the config instead of the annotation file."
        )
    metric = CocoInstanceMetric(**options, metric=list(found))
    metric.dataset_meta = meta
    for kind in found:
        number_annotations(metric.truth_of(kind))
    return {
        kind: metric.comparison(kind, _columns(kind, records, file, metric))
        for kind, (file, records) in found.items()
    }


def _from_annotations(file: Path) -> tuple[dict, dict]:
    categories = GroundTruthFile(str(file)).dataset["categories"]
    meta: dict = dict(classes=tuple(category["name"] for category in categories))
    with_keypoints = [c for c in categories if c.get("keypoints")]
    if with_keypoints and all(
        tuple(c["keypoints"]) == COCO_PERSON["keypoints"] for c in with_keypoints
    ):
        names = tuple(category["name"] for category in with_keypoints)
        meta.update(COCO_PERSON, keypoint_classes=names)
    return dict(ann_file=str(file)), meta


def _of(config: Path, data_root: str | None) -> tuple[dict, dict]:
    cfg = Config.fromfile(config)
    if data_root is not None:
        if "data_root" not in cfg:
            raise UserError(f"{config} has no data_root that --data-root could replace.")
        replace_data_root(cfg, cfg.data_root, data_root)
    init_default_scope(cfg.get("default_scope", "mmdet"))
    evaluators = cfg.get("test_evaluator", ())
    evaluators = [evaluators] if isinstance(evaluators, Mapping) else list(evaluators)
    evaluator = next((e for e in evaluators if e.get("ann_file")), None)
    if evaluator is None or "test_dataloader" not in cfg:
        raise UserError(f"{config} has no test_evaluator with ann_file: name an annotation file.")
    wanted = ("ann_file", "keypoint_ann_file", "sort_categories", "backend_args", "iou_thrs")
    options = {key: evaluator[key] for key in wanted if key in evaluator}
    return options, wrappers.metainfo_of(cfg.test_dataloader.dataset)


def _read(file: Path, classes: Sequence[str], ann_file: str) -> list[dict]:
    """A file's detections as COCO's records."""
    if not file.is_file():
        raise UserError(f"there is no file of results {file.absolute()}.")
    if file.suffix in (".pkl", ".pickle"):
        with file.open("rb") as opened:
            samples = load_pickle(opened)
        return _records_of_samples(samples, file, classes, ann_file)
    try:
        records = json.loads(file.read_bytes())
    except ValueError as error:
        raise UserError(f"{file} is neither JSON nor a pickle (.pkl): {error}.") from error
    needed = {"image_id", "category_id", "score"}
    if not isinstance(records, list) or not all(
        isinstance(record, dict) and needed <= record.keys() for record in records
    ):
        raise UserError(
            f"{file} is no file of COCO results: a list of dictionaries with {sorted(needed)} and "
            "bbox, segmentation or keypoints. tools/test.py writes them with --cfg-options "
            "test_evaluator.outfile_prefix=PREFIX, MaskRInferencer with coco_json=FILE."
        )
    return records


def _records_of_samples(
    samples: object, file: Path, classes: Sequence[str], ann_file: str
) -> list[dict]:
    if not isinstance(samples, list) or not all(
        isinstance(sample, dict) and "pred_instances" in sample and "img_id" in sample
        for sample in samples
    ):
        raise UserError(f"{file} is not what tools/test.py --out writes: a list of samples.")
    by_name = {c["name"]: c["id"] for c in GroundTruthFile(ann_file).dataset["categories"]}
    records = []
    for sample in samples:
        instances = sample["pred_instances"]
        for i, label in enumerate(np.asarray(instances["labels"]).tolist()):
            if label >= len(classes):
                raise UserError(f"{file} has label {label}, but there are {len(classes)} classes.")
            x1, y1, x2, y2 = np.asarray(instances["bboxes"][i], float).tolist()
            record = dict(
                image_id=sample["img_id"],
                category_id=by_name[classes[label]],
                score=float(instances["scores"][i]),
                bbox=[x1, y1, x2 - x1, y2 - y1],
            )
            if "masks" in instances:
                record["segmentation"] = instances["masks"][i]
            if "keypoints" in instances and bool((instances["keypoint_scores"][i] != 0).any()):
                points = np.asarray(instances["keypoints"][i], float) - 0.5  # to pixel indices
                scores = np.asarray(instances["keypoint_scores"][i], float)
                record["keypoints"] = np.column_stack([points, scores]).ravel().tolist()
            records.append(record)
    return records


def _columns(kind: str, records: list[dict], file: Path, metric: CocoInstanceMetric) -> Detections:
    field, truth = FIELDS[kind], metric.truth_of(kind)
    records = [record for record in records if record.get(field)]
    strangers = sorted({str(r["image_id"]) for r in records if r["image_id"] not in truth.imgs})
    if strangers:
        raise UserError(
            f"{file} has detections on {len(strangers)} images that are not in "
            f"{truth.annotation_file}, e.g. {strangers[0]}: are they of the same data set? "
            "(MaskRInferencer writes ids instead of file names if it is given ann_file.)"
        )
    unknown = sorted({r["category_id"] for r in records} - set(truth.cats))
    if unknown:
        raise UserError(
            f"{file} has the category ids {unknown[:8]}, which {truth.annotation_file} has not: "
            f"there are {sorted(truth.cats)[:8]}, ..."
        )
    values = [record[field] for record in records]
    columns: dict[str, Callable[[], dict[str, Any]]] = dict(
        bbox=lambda: dict(boxes=np.array(values, float).reshape(-1, 4)),
        segm=lambda: dict(masks=values),
        keypoints=lambda: dict(keypoints=np.array(values, float)),
    )
    return Detections(
        [record["image_id"] for record in records],
        [record["category_id"] for record in records],
        np.array([record["score"] for record in records], float),
        **columns[kind](),
    )

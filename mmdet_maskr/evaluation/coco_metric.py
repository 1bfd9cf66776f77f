"""COCO's scores of boxes, masks and keypoints."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence

import numpy as np
from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS
from mmengine.fileio import dump, get_local_path
from mmengine.logging import MMLogger

from mmdet_maskr.datasets import keypoint_meta
from mmdet_maskr.errors import UserError
from mmdet_maskr.evaluation import oks
from mmdet_maskr.evaluation.ground_truth import GroundTruth, GroundTruthFile, keypoint_truth

KEYPOINTS = "keypoints"
METRIC_NAMES = ("bbox", "segm", KEYPOINTS, "proposal", "proposal_fast")
BOX_ITEMS = (
    "mAP",
    "mAP_50",
    "mAP_75",
    "mAP_s",
    "mAP_m",
    "mAP_l",
    "AR@100",
    "AR@300",
    "AR@1000",
    "AR_s@1000",
    "AR_m@1000",
    "AR_l@1000",
)


@METRICS.register_module()
class CocoInstanceMetric(CocoMetric):
    """mmdet's CocoMetric with keypoints, and with scores where nothing was detected.

    Takes CocoMetric's options; boxes, masks and proposals are scored by it. Keypoints are scored
    with the data set's ``metainfo`` (see :mod:`mmdet_maskr.datasets.keypoint_meta`): its K sigmas,
    and detections of its ``keypoint_classes`` alone. Their scores are ``coco/keypoints_mAP``,
    ``_mAP_50``, ``_mAP_75``, ``_mAP_m`` and ``_mAP_l``; as in COCO 20 detections an image count,
    and a detection is as large as the box around its keypoints. ``proposal_nums`` and
    ``use_mp_eval`` concern boxes and masks.

    Predictions are ``pred_instances.keypoints`` (D, K, 2), continuous pixels of the original image,
    and ``keypoint_scores`` (D, K). ``PREFIX.keypoints.json`` holds pixel indices, 0.5 less, as
    COCO's files and Detectron2's do, and the detection's score.

    Args:
        ann_file: path of the annotation file. None takes boxes and masks from the data samples, as
            CocoMetric does; these have no areas, so keypoints cannot be scored then.
        metric: any of :data:`METRIC_NAMES`.
        keypoint_ann_file: path of the file with the keypoints, where ``ann_file`` has none (80
            classes with masks, people with keypoints); it has to list ``ann_file``'s images.
        metric_items: scores to record, of :data:`BOX_ITEMS` for boxes and masks and of
            :data:`mmdet_maskr.evaluation.oks.ITEMS` for keypoints.
        classwise: record each class's AP too: ``CLASS_precision`` is CocoMetric's;
            ``keypoints_CLASS_precision`` comes where several classes have keypoints.
        sort_categories: take categories by id and not in the file's order (Objects365).
        **options: the rest of CocoMetric's.

    Raises:
        UserError: unknown metrics or items; what is wrong with an annotation file or the metainfo,
            before the first iteration; predictions without keypoints, or with other than K.
    """

    accepts_rle = True  # see RLEMasksInEvaluationHook

    def __init__(
        self,
        ann_file: str | None = None,
        metric: str | Sequence[str] = "bbox",
        *,
        keypoint_ann_file: str | None = None,
        metric_items: Sequence[str] | None = None,
        sort_categories: bool = False,
        **options,
    ) -> None:
        names = [metric] if isinstance(metric, str) else list(metric)
        unknown = [name for name in names if name not in METRIC_NAMES]
        if unknown or not names:
            raise UserError(f"metric={metric!r}: it must be one or several of {METRIC_NAMES}.")
        self.with_keypoints = KEYPOINTS in names
        if self.with_keypoints and ann_file is None:
            raise UserError(
                "metric 'keypoints' needs ann_file: OKS is relative to areas, which ground truth "
                "from data samples (ann_file=None) has not got."
            )
        items, self.keypoint_items = _split_items(metric_items, names)
        # CocoMetric is to evaluate all but the keypoints, on files read below
        names = [name for name in names if name != KEYPOINTS]
        super().__init__(None, names, metric_items=items, **options)
        if ann_file is not None:
            self._coco_api = self._read(ann_file)
            if sort_categories:
                self._coco_api.dataset["categories"].sort(key=lambda category: category["id"])
                self._coco_api.createIndex()
        if self.with_keypoints:
            self._keypoint_api = self._read_keypoints(keypoint_ann_file)

    @CocoMetric.dataset_meta.setter
    def dataset_meta(self, dataset_meta: Mapping) -> None:
        """Take the data set's metainfo, and look up its classes in the annotation files.

        Raises:
            UserError: they lack classes or are in another order, or keypoints do not fit.
        """
        self._dataset_meta = dataset_meta
        if self._coco_api is not None:
            self.cat_ids = self._coco_api.get_cat_ids(cat_names=dataset_meta["classes"])
        if self.with_keypoints:
            self._prepare_keypoints(dataset_meta)

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Store the batch's predictions; of keypoints those of the classes that have them.

        Raises:
            UserError: a prediction without keypoints, or with another number than K.
        """
        first = len(self.results)
        super().process(data_batch, data_samples)
        if self.with_keypoints:
            stored = self.results[first:]
            for (_, result), sample in zip(stored, data_samples, strict=True):
                result[KEYPOINTS] = self._keypoints(sample["pred_instances"], result["labels"])

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Write the results files and give the scores.

        Where there is nothing to find (in an area range, say) a score is -1, as CocoMetric's.

        Args:
            results: pairs (ground truth, result), one an image.
        """
        if self._coco_api is None:
            self._coco_api = self._truth_of_samples([truth for truth, _ in results])
        scores = super().compute_metrics(results)
        if self.with_keypoints:
            found = self._keypoint_results([result for _, result in results])
            if self.outfile_prefix is not None:
                dump(found, f"{self.outfile_prefix}.keypoints.json")
            if not self.format_only:
                scores.update(self._score_keypoints(found))
        return scores

    def _read(self, ann_file: str) -> GroundTruthFile:
        with get_local_path(ann_file, backend_args=self.backend_args) as path:
            return GroundTruthFile(path)

    def _read_keypoints(self, keypoint_ann_file: str | None) -> GroundTruth:
        if keypoint_ann_file is None:
            return self._coco_api
        keypoint_api = self._read(keypoint_ann_file)
        lacking = sorted(set(self._coco_api.imgs) - set(keypoint_api.imgs))
        if lacking:
            raise UserError(
                f"keypoint_ann_file {keypoint_ann_file} lacks {len(lacking)} of the images of "
                f"ann_file {self._coco_api.annotation_file}, ids {lacking[:5]}: it has to list "
                "them even where nothing on them has keypoints."
            )
        return keypoint_api

    def _truth_of_samples(self, truths: Sequence[dict]) -> GroundTruth:
        with tempfile.TemporaryDirectory() as folder:
            prefix = self.outfile_prefix or os.path.join(folder, "results")
            return GroundTruth(self.gt_to_coco_json(truths, prefix))

    def _prepare_keypoints(self, meta: Mapping) -> None:
        keypoint_meta.check_keypoint_meta(meta)
        self._sigmas = tuple(meta["keypoint_sigmas"])
        names = {label: meta["classes"][label] for label in keypoint_meta.keypoint_labels(meta)}
        ids = {c["name"]: c["id"] for c in self._keypoint_api.dataset["categories"]}
        file = self._keypoint_api.annotation_file
        lacking = [name for name in names.values() if name not in ids]
        if lacking:
            raise UserError(
                f"{file} lacks {lacking} of the classes with keypoints, {tuple(names.values())} "
                f"(metainfo['keypoint_classes']); it has the categories {tuple(ids)}."
            )
        self._keypoint_ids = {label: ids[name] for label, name in names.items()}
        if not self.format_only:
            self._keypoint_truth = keypoint_truth(
                self._keypoint_api, self._keypoint_ids.values(), meta["keypoints"], file
            )

    def _keypoints(self, pred: Mapping, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which detections have keypoints: (P,) indices; and these: (P, K, 3) x, y, score."""
        count, wanted = len(labels), len(self._sigmas)
        if "keypoints" not in pred or "keypoint_scores" not in pred:
            raise UserError(
                "metric 'keypoints' needs predictions with keypoints and keypoint_scores, which a "
                f"keypoint head (roi_head.keypoint_head) gives; there are {sorted(pred.keys())}."
            )
        points, scores = pred["keypoints"], pred["keypoint_scores"]
        if points.shape != (count, wanted, 2) or scores.shape != (count, wanted):
            raise UserError(
                f"{count} detections have keypoints of shape {tuple(points.shape)} and "
                f"keypoint_scores of shape {tuple(scores.shape)}, but "
                f"metainfo['keypoints'] has {wanted} names: the shapes have to be "
                f"({count}, {wanted}, 2) and ({count}, {wanted}); see the keypoint head's number "
                "of keypoints."
            )
        rows = np.flatnonzero(np.isin(labels, list(self._keypoint_ids)))
        triples = np.concatenate([points.cpu().numpy(), scores.cpu().numpy()[..., None]], axis=2)
        return rows, triples[rows]

    def _keypoint_results(self, results: Sequence[dict]) -> list[dict]:
        """COCO's results. Without boxes: with them ``loadRes`` would take their areas."""
        found = []
        for result in results:
            for row, triples in zip(*result[KEYPOINTS], strict=True):
                found.append(
                    {
                        "image_id": result["img_id"],
                        "category_id": self._keypoint_ids[int(result["labels"][row])],
                        "keypoints": (triples.astype(np.float64) - (0.5, 0.5, 0)).ravel().tolist(),
                        "score": float(result["scores"][row]),
                    }
                )
        return found

    def _score_keypoints(self, found: list[dict]) -> dict[str, float]:
        logger = MMLogger.get_current_instance()
        logger.info("Evaluating keypoints...")
        evaluation = oks.evaluate_oks(
            truth=self._keypoint_truth,
            found=self._keypoint_truth.loadRes(found),
            sigmas=self._sigmas,
            category_ids=self._keypoint_ids.values(),
            image_ids=self.img_ids,
            thresholds=self.iou_thrs,
        )
        scores = {}
        if self.classwise and len(self._keypoint_ids) > 1:
            by_class = oks.scores_of_classes(evaluation)
            logger.info("\n" + oks.table_of_classes(by_class))
            for name, items in by_class.items():
                scores[f"keypoints_{name}_precision"] = round(items["mAP"], 3)
        for item in self.keypoint_items:
            scores[f"keypoints_{item}"] = round(float(evaluation.stats[oks.ITEMS[item]]), 3)
        ap = " ".join(f"{evaluation.stats[oks.ITEMS[item]]:.3f}" for item in oks.DEFAULT_ITEMS)
        logger.info(f"keypoints_mAP_copypaste: {ap}")
        return scores


def _split_items(
    items: Sequence[str] | None, metrics: Sequence[str]
) -> tuple[list[str] | None, list[str]]:
    """The items of boxes and masks (None: CocoMetric's default), and those of keypoints."""
    if items is None:
        return None, list(oks.DEFAULT_ITEMS)
    known = {}
    if set(metrics) - {KEYPOINTS}:
        known.update(dict.fromkeys(BOX_ITEMS))
    if KEYPOINTS in metrics:
        known.update(dict.fromkeys(oks.ITEMS))
    unknown = [item for item in items if item not in known]
    if unknown:
        raise UserError(
            f"metric_items has {unknown}; for metric {list(metrics)} there are {tuple(known)}."
        )
    return [i for i in items if i in BOX_ITEMS], [i for i in items if i in oks.ITEMS]

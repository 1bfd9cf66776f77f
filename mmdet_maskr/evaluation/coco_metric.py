"""COCO's scores of boxes, masks and keypoints."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmdet.datasets.api_wrappers import COCOeval
from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS
from mmengine.fileio import get_local_path
from mmengine.logging import MMLogger

from mmdet_maskr.coco import keypoint_meta
from mmdet_maskr.coco.detections import Detections
from mmdet_maskr.datasets.wrappers import one_metainfo
from mmdet_maskr.errors import UserError
from mmdet_maskr.evaluation import backends, scores
from mmdet_maskr.evaluation.backends import EvaluationInput
from mmdet_maskr.evaluation.ground_truth import (
    GroundTruth,
    GroundTruthFile,
    keypoint_truth,
    mask_truth,
    number_annotations,
    warn_of_many,
)
from mmdet_maskr.evaluation.metric_options import (
    KEYPOINT_MAX_DETS,
    KEYPOINTS,
    MAX_DETS,
    OF_DATASET,
    check_counts,
    check_metrics,
    split_items,
)
from mmdet_maskr.evaluation.recall import average_recalls
from mmdet_maskr.evaluation.results import (
    check_masks,
    detections,
    once,
    with_keypoints,
    write_files,
)


@METRICS.register_module()
class CocoInstanceMetric(CocoMetric):
    """mmdet's CocoMetric with keypoints, fast evaluation, and scores where nothing was detected.

    Takes CocoMetric's options and records its scores of boxes, masks and proposals; those of
    classes have the right names also where category ids do not ascend. Keypoints are scored with
    the dataset's ``metainfo`` (see :mod:`mmdet_maskr.coco.keypoint_meta`): its K sigmas, and
    detections of its ``keypoint_classes`` alone. Their scores are ``coco/keypoints_mAP``,
    ``_mAP_50``, ``_mAP_75``, ``_mAP_m`` and ``_mAP_l``; a detection is as large as the box around
    its keypoints. ``proposal_nums`` concerns boxes and masks. ``use_mp_eval`` is accepted and
    ignored: one process with a fast backend is faster than mmdet's eight, and processes forked
    while another library has threads can wait forever.

    All average precisions are those of ``max_dets`` detections an image and class. (CocoMetric has
    mAP of 100 and the others of the largest of ``proposal_nums``.) An image that comes several
    times, as RepeatDataset gives them, is counted once.

    Predictions are ``pred_instances.keypoints`` (D, K, 2), continuous pixels of the original image,
    and ``keypoint_scores`` (D, K). ``PREFIX.keypoints.json`` holds pixel indices, 0.5 less, as
    COCO's files and Detectron2's do, and the detection's score. Files are written where
    ``outfile_prefix`` is set, and only then.

    Args:
        ann_file: path of the annotation file; 'dataset' for that of the dataset which is
            evaluated, where it is one that finds its files (AnyInstanceDataset). None takes boxes
            and masks from the data samples, as CocoMetric does; these have no areas, so keypoints
            cannot be scored then. With ``format_only`` the file may lack annotations, as COCO's
            test sets do.
        metric: any of :data:`.METRIC_NAMES`.
        keypoint_ann_file: path of the file with the keypoints, where ``ann_file`` has none (80
            classes with masks, people with keypoints); it has to list ``ann_file``'s images.
        metric_items: scores to record, of :func:`mmdet_maskr.evaluation.scores.box_items` for boxes
            and masks and of :data:`mmdet_maskr.evaluation.scores.KEYPOINT_ITEMS` for keypoints.
        classwise: record each class's AP too: ``CLASS_precision`` is, as CocoMetric's, that of the
            last of boxes and masks; ``keypoints_CLASS_precision`` comes where several classes have
            keypoints.
        backend: 'pycocotools'; 'hotcoco' or 'faster_coco_eval', which are faster and have to be
            installed; or 'auto', the fastest that is; the log names it. Scores are the same, see
            :mod:`mmdet_maskr.evaluation.backends`.
        sort_categories: take categories by id and not in the file's order (Objects365).
        max_dets: how many detections an image and class count, for all numbers but the average
            recalls of ``proposal_nums``; None for COCO's 100, and 20 with keypoints. Raise it, and
            the model's ``test_cfg.rcnn.max_per_img``, for images with more objects.
        crowds: what annotations with iscrowd=1 are, as the dataset's option of this name.
        **options: the rest of CocoMetric's.

    Raises:
        UserError: unknown metrics or items, a backend that is not installed; what is wrong with an
            annotation file or the metainfo, before the first iteration; predictions without masks
            or keypoints, or with other than K keypoints, at the first image.
    """

    _coco_api: Any  # None until a file is known
    accepts_rle = True  # see RLEMasksInEvaluationHook

    def __init__(
        self,
        ann_file: str | None = None,
        metric: str | Sequence[str] = "bbox",
        *,
        keypoint_ann_file: str | None = None,
        metric_items: Sequence[str] | None = None,
        backend: str = "auto",
        sort_categories: bool = False,
        max_dets: int | None = None,
        crowds: str = "auto",
        **options,
    ) -> None:
        names = check_metrics(metric, ann_file)
        self.with_keypoints = KEYPOINTS in names
        self.max_dets = max_dets
        self.crowds = crowds
        numbers = options.get("proposal_nums", scores.PROPOSAL_NUMS)
        check_counts(max_dets, numbers, names)
        items, self.keypoint_items = split_items(metric_items, names, numbers)
        backends.check_backend(backend)
        # CocoMetric knows all but the keypoints; the file is read below
        others = [name for name in names if name != KEYPOINTS]
        super().__init__(None, others, metric_items=items, **options)
        self.metrics = names
        self.backend = backend
        self._of_dataset = ann_file == OF_DATASET
        self._sort_categories, self._keypoint_file = sort_categories, keypoint_ann_file
        if ann_file is not None and not self._of_dataset:
            self._read_all(ann_file)

    @CocoMetric.dataset_meta.setter
    def dataset_meta(self, dataset_meta: Mapping) -> None:
        """Take the dataset's metainfo, and look up its classes in the annotation files.

        Raises:
            UserError: they lack classes or masks, or keypoints do not fit.
        """
        self._dataset_meta = dataset_meta = one_metainfo(dataset_meta, "the dataset")
        if self._of_dataset:
            if "ann_file" not in dataset_meta:
                raise UserError(
                    "the evaluator's ann_file='dataset' works only with AnyInstanceDataset: set "
                    "ann_file to the annotation file of the dataset."
                )
            self._read_all(dataset_meta["ann_file"])
        if self._coco_api is not None:
            self.cat_ids = self._coco_api.get_cat_ids(cat_names=dataset_meta["classes"])
            if "segm" in self.metrics and not self.format_only:
                file = self._coco_api.annotation_file
                self._mask_truth = mask_truth(self._coco_api, self.cat_ids, file)
            if not self.format_only:
                warn_of_many(self._coco_api, self.cat_ids, self.max_dets or MAX_DETS)
        if self.with_keypoints:
            self._prepare_keypoints(dataset_meta)

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Store the batch's predictions; of keypoints those of the classes that have them.

        Raises:
            UserError: a prediction without masks or keypoints, or with other than K keypoints.
        """
        for sample in data_samples if "segm" in self.metrics else ():
            check_masks(sample["pred_instances"])
        first = len(self.results)
        super().process(data_batch, data_samples)
        for (_, result), sample in zip(self.results[first:], data_samples, strict=True):
            result["img_path"] = sample.get("img_path")
            if self.with_keypoints:
                result[KEYPOINTS] = with_keypoints(
                    sample["pred_instances"], result, self._keypoint_ids, len(self._sigmas)
                )

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Write the results files that were asked for, and give the scores.

        Where there is nothing to find (in an area range, say) a score is -1, as CocoMetric's.

        Args:
            results: pairs (ground truth, result), one an image.
        """
        truths, found = zip(*once(results), strict=True)
        if self._coco_api is None:
            self._coco_api = self._truth_of_samples(truths)
        unknown = [r["img_id"] for r in found if r["img_id"] not in self._coco_api.imgs]
        if unknown:
            raise UserError(
                f"{len(unknown)} of the {len(found)} images of the dataset, ids "
                f"{unknown[:5]}, are not in the evaluator's ann_file: set ann_file to the "
                "annotation file of the dataset."
            )
        if self.cat_ids is None:
            self.cat_ids = self._coco_api.get_cat_ids(cat_names=self.dataset_meta["classes"])
        if self.outfile_prefix is not None:
            self._write(found)
        recorded: dict[str, float] = {}
        if not self.format_only:
            number_annotations(self._coco_api)
            for metric in self.metrics:
                if metric == "segm":
                    number_annotations(self._mask_truth)
                MMLogger.get_current_instance().info(f"Evaluating {metric}...")
                score = self._fast_recall if metric == "proposal_fast" else self._score
                recorded.update(score(metric, found))
        return recorded

    # ------------------------------------------------------------------------------- annotations
    def _read_all(self, ann_file: str) -> None:
        self._coco_api = self._read(ann_file)
        if self._sort_categories:
            self._coco_api.dataset["categories"].sort(key=lambda category: category["id"])
            self._coco_api.createIndex()
        if self.with_keypoints:
            self._keypoint_api = self._read_keypoints(self._keypoint_file)

    def _read(self, ann_file: str) -> GroundTruthFile:
        with get_local_path(ann_file, backend_args=self.backend_args) as path:
            return GroundTruthFile(path, may_lack_annotations=self.format_only, crowds=self.crowds)

    def _read_keypoints(self, keypoint_ann_file: str | None) -> GroundTruth:
        if keypoint_ann_file is None:
            return self._coco_api
        keypoint_api = self._read(keypoint_ann_file)
        lacking = sorted(set(self._coco_api.imgs) - set(keypoint_api.imgs))
        if lacking:
            raise UserError(
                f"keypoint_ann_file {keypoint_ann_file} lacks {len(lacking)} of the images "
                f"of ann_file {self._coco_api.annotation_file}, ids {lacking[:5]}: it must "
                "list all images, also those without keypoints."
            )
        return keypoint_api

    def _truth_of_samples(self, truths: Sequence[dict]) -> GroundTruth:
        with tempfile.TemporaryDirectory() as folder:
            prefix = self.outfile_prefix or os.path.join(folder, "results")
            truth = GroundTruth(self.gt_to_coco_json(truths, prefix))
        truth.dataset.setdefault("annotations", [])
        if "segm" in self.metrics:
            self._mask_truth = mask_truth(truth, truth.cats, "the data samples")
        return truth

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

    # ------------------------------------------------------------------------------------ scores
    def ids_of(self, metric: str) -> dict[int, int]:
        """Category ids by label, of the classes that a metric scores."""
        return self._keypoint_ids if metric == KEYPOINTS else dict(enumerate(self.cat_ids))

    def _detections(self, metric: str, results: Sequence[dict], boxes: bool = False) -> Detections:
        return detections(metric, results, self.ids_of(metric), boxes)

    def _write(self, results: Sequence[dict]) -> None:
        """PREFIX.bbox.json, as CocoMetric always does, and those of masks and keypoints."""
        found = dict(bbox=self._detections("bbox", results))
        if "masks" in results[0]:
            found["segm"] = self._detections("segm", results, boxes=True)
        if self.with_keypoints:
            found[KEYPOINTS] = self._detections(KEYPOINTS, results)
        files = write_files(self.outfile_prefix, found)
        MMLogger.get_current_instance().info(f"results saved as {files}")

    def evaluation(self, metric: str, results: Sequence[dict]) -> tuple[COCOeval, dict[int, str]]:
        """COCO's evaluation by the backend, and the names of its categories by their ids.

        Args:
            metric: one of :data:`.METRIC_NAMES`, but for proposal_fast.
            results: one an image, as :meth:`process` stores them.
        """
        comparison = self.comparison(metric, self._detections(metric, results))
        backend, description = backends.choose(comparison, self.backend)
        MMLogger.get_current_instance().info(f"{comparison.kind} is evaluated by {description}")
        names = {i: comparison.truth.cats[i]["name"] for i in comparison.category_ids}
        return backends.evaluate(comparison, backend), names

    def _score(self, metric: str, results: Sequence[dict]) -> dict[str, float]:
        logger = MMLogger.get_current_instance()
        evaluation, names = self.evaluation(metric, results)
        counted = self.counted(metric)
        recorded = {}
        of_classes = self.classwise and metric != "proposal"
        if of_classes and (metric != KEYPOINTS or len(names) > 1):
            by_class = scores.scores_of_classes(evaluation, names, counted)
            logger.info("\n" + scores.table_of_classes(by_class))
            prefix = "keypoints_" if metric == KEYPOINTS else ""
            for name, items in by_class.items():
                recorded[f"{prefix}{name}_precision"] = round(items["mAP"], 3)
        prefix = "" if metric == "proposal" else f"{metric}_"
        for item, value in scores.statistics(evaluation, self.items_of(metric), counted).items():
            recorded[f"{prefix}{item}"] = round(value, 3)
        if metric != "proposal":
            stats = scores.statistics(evaluation, scores.default_items(metric), counted)
            logger.info(
                f"{metric}_mAP_copypaste: " + " ".join(f"{ap:.3f}" for ap in stats.values())
            )
        return recorded

    def truth_of(self, metric: str) -> GroundTruth:
        """The annotations that a metric compares with."""
        if metric == "segm":
            return self._mask_truth
        return self._keypoint_truth if metric == KEYPOINTS else self._coco_api

    def comparison(self, metric: str, found: Detections) -> EvaluationInput:
        """What a metric compares with what.

        Args:
            metric: one of :data:`.METRIC_NAMES`, but for proposal_fast.
            found: detections with what the metric scores alone.
        """
        shared = dict(
            counted=self.counted(metric),
            image_ids=self._coco_api.get_img_ids(),
            thresholds=np.atleast_1d(np.asarray(self.iou_thrs, np.float64)),
        )
        if metric == KEYPOINTS:
            return EvaluationInput(
                kind=KEYPOINTS,
                truth=self._keypoint_truth,
                found=found.best(self.counted(metric)),  # often a fifth of them
                category_ids=list(self._keypoint_ids.values()),
                max_dets=(self.counted(metric),),
                sigmas=self._sigmas,
                **shared,
            )
        return EvaluationInput(
            kind="segm" if metric == "segm" else "bbox",  # proposals are boxes
            truth=self.truth_of(metric),
            found=found,
            category_ids=self.cat_ids,
            max_dets=sorted({*self.proposal_nums, self.counted(metric)}),
            use_categories=metric != "proposal",
            **shared,
        )

    def counted(self, metric: str) -> int:
        """How many detections an image and class count for a metric."""
        return self.max_dets or (KEYPOINT_MAX_DETS if metric == KEYPOINTS else MAX_DETS)

    def items_of(self, metric: str) -> Sequence[str]:
        """Names of the scores that are recorded of a metric."""
        items = self.keypoint_items if metric == KEYPOINTS else self.metric_items
        return scores.default_items(metric, self.proposal_nums) if items is None else items

    def _fast_recall(self, metric: str, results: Sequence[dict]) -> dict[str, float]:
        found = {result["img_id"]: result["bboxes"] for result in results}
        recalls = average_recalls(self._coco_api, found, self.proposal_nums, self.iou_thrs)
        names = [f"AR@{count}" for count in self.proposal_nums]
        recorded = dict(zip(names, recalls.tolist(), strict=True))
        MMLogger.get_current_instance().info(
            ", ".join(f"{name} {recall:.4f}" for name, recall in recorded.items())
        )
        return recorded

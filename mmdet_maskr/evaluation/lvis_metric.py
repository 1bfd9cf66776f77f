"""LVIS's federated evaluation by the lvis package, on current numpy."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import numpy as np
import pycocotools.mask as coco_masks
from mmdet.evaluation import CocoMetric, LVISMetric
from mmdet.registry import METRICS

from mmdet_maskr import adjustments
from mmdet_maskr.datasets.lvis import check_lvis_file, require_lvis


@METRICS.register_module()
class LVISInstanceMetric(LVISMetric):
    """mmdet's LVISMetric; takes RLEs of masks as they are. Options are LVISMetric's.

    Federated: a category counts on an image only where the image is known to have, or not to have,
    it. AP of rare, common and frequent categories are ``APr``, ``APc`` and ``APf``.

    Args:
        ann_file: LVIS v1 annotations; needed, as a dataset does not carry the federated part.

    Raises:
        UserError: the lvis package or the annotation file is missing.
    """

    accepts_rle = True

    def __init__(self, ann_file: str | None = None, **options) -> None:
        require_lvis()
        check_lvis_file(ann_file)
        super().__init__(ann_file=ann_file, **options)
        self._coco_api = self._lvis_api  # CocoMetric.process asks whether there is a file
        adjustments.provide_numpy(importlib.import_module("lvis.eval"), float=float)  # lvis 0.5.3

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep the predictions of a batch; masks are dense or RLEs."""
        CocoMetric.process(self, data_batch, data_samples)

    def results2json(self, results: Sequence[dict], outfile_prefix: str) -> dict:
        """mmdet's files; where nothing was detected, what the lvis package scores as that.

        It cannot read an empty list, and mmdet gives no scores then. One detection of no pixels
        is found nowhere: all scores are 0, as they are where detections are wrong.
        """
        files = super().results2json(results, outfile_prefix)
        if self.format_only or any(len(result["bboxes"]) for result in results):
            return files
        image = self._lvis_api.load_imgs(self.img_ids[:1])[0]
        blank = np.zeros((image["height"], image["width"], 1), np.uint8, order="F")
        nothing = dict(
            image_id=image["id"],
            category_id=self.cat_ids[0],
            bbox=[0.0, 0.0, 0.0, 0.0],
            segmentation=coco_masks.encode(blank)[0],
            score=0.0,
        )
        return {metric: [dict(nothing)] for metric in files}

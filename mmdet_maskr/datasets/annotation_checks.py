"""COCO datasets that report dropped annotations and boxes that do not fit their masks."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

import numpy as np
from mmdet.datasets import CocoDataset
from mmengine.logging import print_log

from mmdet_maskr.cli.spelling import call
from mmdet_maskr.coco.check.trainable import Tally
from mmdet_maskr.coco.index import AnnotationIndex, Flag, usage_of
from mmdet_maskr.datasets.indexed_items import IndexedItems
from mmdet_maskr.datasets.transforms import check_pipeline
from mmdet_maskr.datasets.transforms.pipeline_check import loads_masks, loads_polygons_only
from mmdet_maskr.errors import UserError

FIX = f"{call('check FILE --fix COPY')} lists all such annotations and fixes a copy."


class ChecksAnnotations(CocoDataset):
    """A dataset that looks at all annotations of its file when it is built.

    It counts those that loading leaves out, by reason; with ``filter_empty_gt`` an image of such
    annotations alone is left out, too. It compares each box with the mask of its annotation. To be
    inherited before the dataset that reads the file, and takes its options.

    Args:
        max_box_mismatch: share of the boxes that may be other than the bounds of their masks. 1
            for datasets whose boxes are meant to, as around hidden parts of an object.

    Raises:
        UserError: none is left to be trained on; category ids are shifted, boxes are fractions of
            an image; more boxes than ``max_box_mismatch`` allows do not fit their masks; a
            pipeline that would leave masks or keypoints behind, or needs masks of objects that
            have a box only.

    Attributes:
        box_only: how many objects have a box and no mask.
    """

    box_only = 0
    TAKES_CROWDS_ALONE = True  # for training: images without any other object

    def __init__(self, *args, max_box_mismatch: float = 0.05, **kwargs) -> None:
        if not 0 <= max_box_mismatch <= 1:
            raise UserError(f"max_box_mismatch must be from 0 to 1, not {max_box_mismatch}.")
        self.max_box_mismatch = max_box_mismatch
        super().__init__(*args, **kwargs)
        check_pipeline(self.pipeline)

    def load_data_list(self) -> list[dict]:
        """Load and parse the annotation file, and look at all of its annotations."""
        data_list = super().load_data_list()
        content = self.__dict__.pop("_content", None)
        if content is not None:
            tally = self._tally(content)
            self._used_images = tally.used_images
            self._report(tally)
        return data_list

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """Parse one image; mmdet has the whole file at hand then, and not any more afterwards."""
        api: Any = getattr(self, "coco", None) or getattr(self, "lvis", None)
        if api is not None and "_content" not in self.__dict__:
            self._content = api.dataset
        return super().parse_data_info(raw_data_info)

    def filter_data(self) -> Any:
        """Leave images out as ``filter_cfg`` says, and those whose annotations are left out."""
        if isinstance(self.data_list, IndexedItems):
            return self.data_list if self.test_mode else self._filtered(self.data_list)
        kept = super().filter_data()
        if self.test_mode or not (self.filter_cfg or {}).get("filter_empty_gt"):
            return kept
        used = self.__dict__.pop("_used_images", None)
        return kept if used is None else [info for info in kept if info["img_id"] in used]

    def _load_index(self, index: AnnotationIndex) -> IndexedItems:
        """The images of an index, after a look at all of its annotations.

        ``cat_ids`` have to be known.
        """
        usage = usage_of(index, self.cat_ids, loads_polygons_only(self.pipeline))
        self._report(usage.tally)
        self._loaded, self._used_rows = usage.loaded, usage.used_rows
        if not self.TAKES_CROWDS_ALONE:
            objects = usage.loaded & ~index.has(Flag.CROWD)
            self._used_rows = np.zeros(index.num_images, bool)
            self._used_rows[index.arrays["image"][objects]] = True
            self._used_rows &= usage.used_rows
        return IndexedItems(index, index.items, partial(self._item, index))

    def _item(self, index: AnnotationIndex, row: int) -> dict:
        """What mmdet's ``data_list`` has of an image."""
        image = self._image(index, row)
        raw = dict(image, img_id=image["id"])
        annotations = self._annotations(index, index.of_image(row))
        return self.parse_data_info(dict(raw_img_info=raw, raw_ann_info=annotations))

    def _image(self, index: AnnotationIndex, row: int) -> dict:
        """An image's entry, as ``parse_data_info`` needs it."""
        return index.image(row)

    def _annotations(self, index: AnnotationIndex, numbers: np.ndarray) -> list[dict]:
        """Entries of annotations, as ``parse_data_info`` needs them."""
        return index.annotations(numbers)

    def _filtered(self, items: IndexedItems) -> IndexedItems:
        options = self.filter_cfg or {}
        arrays, rows = items.source.arrays, items.rows
        sides = np.minimum(arrays["width"][rows], arrays["height"][rows])
        kept = sides >= options.get("min_size", 0)
        if options.get("filter_empty_gt"):
            kept &= self._used_rows[rows]
        return items.take(np.flatnonzero(kept))

    def _tally(self, content: dict) -> Tally:
        images = {image["id"]: image for image in content["images"]}
        categories = [category["id"] for category in content["categories"]]
        tally = Tally(categories, self.cat_ids, loads_polygons_only(self.pipeline))
        for annotation in content.get("annotations", ()):
            tally.add(annotation, images.get(annotation["image_id"]))
        return tally

    def _report_box_only(self, tally: Tally) -> None:
        self.box_only = tally.box_only
        if self.test_mode or not tally.box_only or not loads_masks(self.pipeline):
            return
        text = f"{tally.box_only} of {tally.used} objects have a box and no mask"
        if loads_masks(self.pipeline, as_pixels=True):
            raise UserError(
                f"{self.ann_file}: {text}, but the pipeline loads masks as mmdet does and "
                "needs a mask for each object. Use LoadInstanceAnnotations (or "
                "LoadKeypointAnnotations with poly2mask=None) in train_pipeline; these "
                "objects then train only the box branch."
            )
        _say(
            f"{self.ann_file}: {text}: they train boxes, and are left out of the mask loss.",
            logging.WARNING,
        )

    def _report(self, tally: Tally) -> None:
        self._report_box_only(tally)
        cause = tally.cause()
        left = (
            f"{self.ann_file}: {tally.total - tally.used} of {tally.total} annotations are not "
            f"used: {tally.listed()}. {cause}{' ' * bool(cause)}{FIX}"
        )
        if tally.shift() or tally.all_fractions:
            raise UserError(left)
        if tally.total and not tally.used and not self.test_mode:
            raise UserError(f"no annotation is left to train on. {left}")
        if not tally.total and not self.test_mode:
            _say(f"{self.ann_file} has no annotations: its images are background.", logging.WARNING)
        if tally.is_much or tally.reasons["category"] or tally.reasons["image"]:
            _say(left, logging.WARNING)
        elif set(tally.reasons) - {"crowd", "other-class"}:
            _say(left, logging.INFO)
        if tally.mismatches:
            self._report_boxes(tally)

    def _report_boxes(self, tally: Tally) -> None:
        name, first = next(iter(tally.mismatches.items()))
        bounds = [round(value, 1) for value in first.bounds]
        cause = tally.boxes_cause()
        text = (
            f"{self.ann_file}: the boxes of {len(tally.mismatches)} of {tally.compared} "
            "annotations are not the bounds of their masks, first that of annotation "
            f"{name}, whose mask has x1, y1, x2, y2 = {bounds}. {cause}{' ' * bool(cause)}{FIX}"
        )
        if len(tally.mismatches) > self.max_box_mismatch * tally.compared:
            raise UserError(
                f"{text} If the boxes differ on purpose, set max_box_mismatch=1 in the "
                f"dataset; it is {self.max_box_mismatch:g}."
            )
        _say(text, logging.WARNING)


def _say(text: str, level: int) -> None:
    print_log(text, logger="current", level=level)

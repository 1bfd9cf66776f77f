"""COCO instance datasets that are checked before training starts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS
from mmengine.fileio import get_local_path

from mmdet_maskr.coco.index import AnnotationIndex
from mmdet_maskr.coco.indexed import CheckedCOCO
from mmdet_maskr.coco.reader import category_ids, checked_index, crowds_of, tell_crowds
from mmdet_maskr.datasets import option_checks
from mmdet_maskr.datasets.annotation_checks import ChecksAnnotations
from mmdet_maskr.datasets.indexed_items import IndexedItems, SharesIndex
from mmdet_maskr.datasets.transforms.loading import BOX_ONLY
from mmdet_maskr.datasets.unreadable import SurvivesUnreadableImages


@DATASETS.register_module()
class CocoInstanceDataset(SharesIndex, SurvivesUnreadableImages, ChecksAnnotations, CocoDataset):
    """mmdet's CocoDataset with checked class names, annotations and image folder.

    Takes the options of CocoDataset, SurvivesUnreadableImages and ChecksAnnotations. Own classes go
    into ``metainfo=dict(classes=(...))``, in any order; a subset of the file's is fine.

    Args:
        crowds: what annotations with iscrowd=1 are. 'auto' takes those of a class that has none
            else, and those of CVAT's brush, for single objects; 'keep' takes all for crowds, which
            are ignored; 'none' takes none for one.

    Raises:
        UserError: what :mod:`mmdet_maskr.coco.reader`, :mod:`.option_checks` and
            :mod:`mmdet_maskr.datasets.annotation_checks` find; when the dataset is built, which
            the Runner does before the first iteration.
    """

    TITLE = "COCO"  # in the catalogue of configs

    COCOAPI: Callable[..., CheckedCOCO] = CheckedCOCO
    INDEXED_API: Callable[..., CheckedCOCO] = CheckedCOCO  # that the index stands for
    FILTER_OPTIONS: tuple[str, ...] = ("filter_empty_gt", "min_size")
    READS_INDEX = True  # False for a subclass that needs pycocotools' index, ``self.coco``

    def __init__(
        self,
        *args,
        metainfo: dict | None = None,
        filter_cfg: dict | None = None,
        crowds: str = "auto",
        **kwargs,
    ) -> None:
        self.crowds = crowds
        option_checks.check_metainfo(metainfo)
        option_checks.check_filter(filter_cfg, self.FILTER_OPTIONS)
        super().__init__(*args, metainfo=metainfo, filter_cfg=filter_cfg, **kwargs)

    def load_data_list(self) -> Any:
        """Read the annotation file, by its index; check it, and that its first image is there.

        With ``test_mode`` the file may lack annotations; evaluation refuses it then.
        """
        api = type(self).COCOAPI
        indexed = api is self.INDEXED_API and self.READS_INDEX and self.proposal_file is None
        data_list = self._load_indexed() if indexed else None
        if data_list is None:  # all at once
            self.COCOAPI = partial(api, **self._api_options())
            data_list = super().load_data_list()
        if self.backend_args is None:
            option_checks.check_image_folder(self.data_prefix["img"], data_list[0]["img_path"])
        return data_list

    def _load_indexed(self) -> IndexedItems | None:
        """By the file's index; None where entries have to be changed, or looked at one by one."""
        with get_local_path(self.ann_file, backend_args=self.backend_args) as path:
            index = checked_index(path, may_lack_annotations=self.test_mode)
            crowds = crowds_of(index, self.crowds)
            if crowds.single or not self._takes(index):
                return None
            tell_crowds(crowds, index.categories, path)
            counts = np.bincount(index.arrays["category"], minlength=len(index.category_ids))
            used = {i for i, count in zip(index.category_ids, counts, strict=True) if count}
            classes = self.metainfo["classes"] or ()
            self.cat_ids = category_ids(classes, index.categories, used, str(path))
        self.cat2label = {cat_id: label for label, cat_id in enumerate(self.cat_ids)}
        return self._load_index(index)

    def _takes(self, index: AnnotationIndex) -> bool:
        """Whether the annotations can be used as they are in the index."""
        return True

    def _api_options(self) -> dict:
        """Options of ``COCOAPI``, for reading all at once."""
        return dict(may_lack_annotations=self.test_mode, crowds=self.crowds)

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """mmdet's; objects with a box only get it as their mask, and ``box_only``."""
        boxes = {}
        annotations = []
        for annotation in raw_data_info["raw_ann_info"]:
            if not annotation.get("segmentation"):
                x, y, w, h = annotation["bbox"]
                outline = [[x, y, x + w, y, x + w, y + h, x, y + h]]
                boxes[id(outline)] = outline
                annotation = {**annotation, "segmentation": outline}
            annotations.append(annotation)
        if not boxes:
            return super().parse_data_info(raw_data_info)
        info = super().parse_data_info({**raw_data_info, "raw_ann_info": annotations})
        for instance in info["instances"]:
            if id(instance["mask"]) in boxes:
                instance[BOX_ONLY] = True
        return info

    PARSERS: tuple[Callable, ...] = (parse_data_info,)

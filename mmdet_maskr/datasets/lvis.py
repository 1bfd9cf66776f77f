"""LVIS v1 instances (Gupta et al. 2019), checked before training starts."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from mmdet.datasets import LVISV1Dataset
from mmdet.registry import DATASETS
from mmengine.fileio import get_local_path

from mmdet_maskr.coco.index import AnnotationIndex, open_index
from mmdet_maskr.datasets import option_checks
from mmdet_maskr.datasets.annotation_checks import ChecksAnnotations
from mmdet_maskr.datasets.indexed_items import SharesIndex
from mmdet_maskr.datasets.unreadable import SurvivesUnreadableImages
from mmdet_maskr.errors import UserError

PREFIX = "http://images.cocodataset.org/"  # of coco_url; folder and file follow


@DATASETS.register_module()
class LVISInstanceDataset(SharesIndex, SurvivesUnreadableImages, ChecksAnnotations, LVISV1Dataset):
    """mmdet's LVISV1Dataset that says what is wrong and survives the odd unreadable image.

    Takes the options of LVISV1Dataset, SurvivesUnreadableImages and ChecksAnnotations. Reads the
    file by its index, without the lvis package, which only :class:`.LVISInstanceMetric` needs.

    LVIS takes COCO's images; ``coco_url`` of each image names folder and file, so ``data_prefix``
    is where ``train2017/`` and ``val2017/`` lie.

    Raises:
        UserError: annotation file or image folder is missing, the file is none of LVIS v1, or has
            another number of categories than there are classes; what ChecksAnnotations finds.
    """

    TITLE = "LVIS v1"
    PARSERS = (ChecksAnnotations.parse_data_info,)

    def load_data_list(self) -> Any:
        """Read the annotation file, by its index, and check it."""
        if self.backend_args is None:
            check_lvis_file(self.ann_file)
        with get_local_path(self.ann_file, backend_args=self.backend_args) as path:
            index = open_index(path, may_lack_names=True)
        self.cat_ids = [category["id"] for category in index.categories]
        self.cat2label = {cat_id: label for label, cat_id in enumerate(self.cat_ids)}
        classes = self.metainfo["classes"]
        if len(self.cat_ids) != len(classes):
            raise UserError(
                f"{self.ann_file} has {len(self.cat_ids)} categories, but the dataset has "
                f"{len(classes)} classes; LVIS v1 has 1203. For your own classes, use "
                "CocoInstanceDataset."
            )
        if "coco_url" not in index.image(0):
            raise UserError(
                f"{self.ann_file} is not an annotation file of LVIS v1: its images have no "
                "coco_url."
            )
        data_list = self._load_index(index)
        if self.backend_args is None:
            option_checks.check_image_folder(self.data_prefix["img"], data_list[0]["img_path"])
        return data_list

    def _image(self, index: AnnotationIndex, row: int) -> dict:
        image = super()._image(index, row)
        if not isinstance(image.get("coco_url"), str):
            raise UserError(f"{self.ann_file}: image {image['id']} has no coco_url.")
        name = image["coco_url"].replace(PREFIX, "")
        return dict(image, file_name=name)


def require_lvis() -> None:
    """Check that the lvis package is there.

    Raises:
        UserError: it is not installed; with the command that installs it.
    """
    if importlib.util.find_spec("lvis") is None:
        raise UserError(
            "LVIS needs the package lvis, which is not installed: run `pip install --no-deps lvis`."
        )


def check_lvis_file(path: str | None) -> None:
    """Check that the annotation file is there.

    Raises:
        UserError: it is not; with the options that name it.
    """
    if path is None or not Path(path).is_file():
        raise UserError(
            f"there is no LVIS annotation file {path and Path(path).absolute()}: set data_root "
            "(--data-root in maskr train and maskr test) or ann_file."
        )

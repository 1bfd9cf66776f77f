"""PASCAL VOC boxes, checked before training starts."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from mmdet.datasets import VOCDataset
from mmdet.registry import DATASETS

from mmdet_maskr.datasets import option_checks
from mmdet_maskr.datasets.unreadable import SurvivesUnreadableImages
from mmdet_maskr.errors import UserError


@DATASETS.register_module()
class VOCBoxDataset(SurvivesUnreadableImages, VOCDataset):
    """mmdet's VOCDataset that says what is missing and survives the odd unreadable image.

    Takes the options of both.

    Raises:
        UserError: the list of images, an annotation file or the first image is not there; an
            annotation file is no XML or lacks an entry; no object has a class of the dataset;
            unknown spellings of ``metainfo``.
    """

    TITLE = "PASCAL VOC"

    def __init__(self, *args, metainfo: dict | None = None, **kwargs) -> None:
        option_checks.check_metainfo(metainfo)
        super().__init__(*args, metainfo=metainfo, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Load the images that the list names, with their boxes; check them."""
        if self.backend_args is None and not Path(self.ann_file).is_file():
            raise UserError(
                f"there is no list of images {Path(self.ann_file).absolute()}: set data_root "
                "(--data-root in maskr train and maskr test) to the folder VOCdevkit."
            )
        data_list = super().load_data_list()
        if not data_list:
            raise UserError(f"the list of images {self.ann_file} is empty.")
        if self.backend_args is None:
            path = data_list[0]["img_path"]
            option_checks.check_image_folder(str(Path(path).parent), path)
        if not any(info["instances"] for info in data_list):
            names = {
                element.text or ""
                for info in data_list
                for element in ET.parse(info["xml_path"]).findall("object/name")
            }
            raise UserError(
                f"no object of {self.ann_file} has one of the dataset's classes "
                f"{tuple(self.metainfo['classes'])}; they are named {sorted(names)}. Set "
                "metainfo=dict(classes=...)."
            )
        return data_list

    def parse_data_info(self, img_info: dict) -> dict:
        """Size, path and boxes of one image."""
        path = img_info["xml_path"]
        if self.backend_args is None and not Path(path).is_file():
            raise UserError(f"{self.ann_file} lists {img_info['img_id']}, but there is no {path}.")
        try:
            return super().parse_data_info(img_info)
        except ET.ParseError as error:
            raise UserError(f"annotation file {path} is not XML: {error}.") from error
        except (AttributeError, TypeError, ValueError) as error:
            raise UserError(
                f"annotation file {path} lacks the image's size, or an object's name or bndbox, or "
                f"has no numbers there: {error}."
            ) from error

    def _check_size(self, idx: int, data: Any) -> None:
        """No check: VOC 2012 has a file (2011_003353) with width and height swapped.

        Boxes are those of the image as it is, and only the aspect ratio's batches use the size.
        """

"""LVIS v1 instances (Gupta et al. 2019), checked before training starts."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from mmdet.datasets import LVISV1Dataset
from mmdet.registry import DATASETS

from mmdet_maskr.datasets import option_checks
from mmdet_maskr.datasets.annotation_checks import ChecksAnnotations
from mmdet_maskr.datasets.unreadable import SurvivesUnreadableImages
from mmdet_maskr.errors import UserError


@DATASETS.register_module()
class LVISInstanceDataset(SurvivesUnreadableImages, ChecksAnnotations, LVISV1Dataset):
    """mmdet's LVISV1Dataset that says what is missing and survives the odd unreadable image.

    Takes the options of LVISV1Dataset, SurvivesUnreadableImages and ChecksAnnotations.

    LVIS takes COCO's images; ``coco_url`` of each image names folder and file, so ``data_prefix``
    is where ``train2017/`` and ``val2017/`` lie.

    Raises:
        UserError: the lvis package, annotation file or image folder is missing, the file is none
            of LVIS v1, or has another number of categories than there are classes; what
            ChecksAnnotations finds.
    """

    TITLE = "LVIS v1"

    def load_data_list(self) -> list[dict]:
        """Load the annotation file and check it."""
        require_lvis()
        if self.backend_args is None:
            check_lvis_file(self.ann_file)
        try:
            data_list = super().load_data_list()
        except UserError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, AssertionError) as error:
            raise UserError(
                f"{self.ann_file} is no annotation file of LVIS v1: {type(error).__name__}: "
                f"{error}."
            ) from error
        if not data_list:
            raise UserError(f"{self.ann_file} has no images.")
        classes = self.metainfo["classes"]
        if len(self.cat_ids) != len(classes):
            raise UserError(
                f"{self.ann_file} has {len(self.cat_ids)} categories, but the data set has "
                f"{len(classes)} classes, and labels follow the file: LVIS v1 has 1203. For a file "
                "with classes of your own use CocoInstanceDataset."
            )
        if self.backend_args is None:
            option_checks.check_image_folder(self.data_prefix["img"], data_list[0]["img_path"])
        return data_list


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
            "(--data-root in tools/train.py and tools/test.py) or ann_file."
        )

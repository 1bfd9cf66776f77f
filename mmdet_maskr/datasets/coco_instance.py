"""COCO instance data sets that say what is wrong before training starts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from mmdet.datasets import CocoDataset
from mmdet.datasets.api_wrappers import COCO
from mmdet.registry import DATASETS

from mmdet_maskr.coco import reader
from mmdet_maskr.coco.check.essentials import check_essentials
from mmdet_maskr.datasets import option_checks
from mmdet_maskr.datasets.annotation_checks import ChecksAnnotations
from mmdet_maskr.datasets.unreadable import SurvivesUnreadableImages
from mmdet_maskr.errors import UserError


class CheckedCOCO(COCO):
    """pycocotools' COCO, strict about its file and about the names that it is asked for.

    Args:
        annotation_file: path of the file.
        option: the option that names it, for messages.
        may_lack_annotations: take a file of images and categories alone, as COCO's test sets have.

    Raises:
        UserError: no such file, or none that :func:`.reader.check_sections` takes.
    """

    def __init__(
        self, annotation_file: str, option: str = "ann_file", may_lack_annotations: bool = False
    ) -> None:
        path = Path(annotation_file)
        if not path.is_file():
            raise UserError(
                f"there is no annotation file {path.absolute()}: set data_root (--data-root in "
                f"tools/train.py and tools/test.py) or the data set's {option}."
            )
        super().__init__()
        try:
            self.dataset = json.loads(path.read_bytes())
        except (ValueError, RecursionError) as error:  # also of a wrong encoding
            raise UserError(f"annotation file {annotation_file} is not JSON: {error}.") from error
        if may_lack_annotations and isinstance(self.dataset, dict):
            self.dataset.setdefault("annotations", [])
        reader.check_sections(self.dataset, annotation_file)
        check_essentials(self.dataset, annotation_file)
        self.annotation_file = annotation_file
        self.createIndex()
        self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs

    def get_cat_ids(self, cat_names: Sequence[str] = (), **kwargs) -> list[int]:
        """Category ids in the file's order; each of ``cat_names`` must be there, in that order."""
        if cat_names:
            in_file = [category["name"] for category in self.dataset["categories"]]
            reader.check_classes(cat_names, in_file, self.annotation_file)
        return super().get_cat_ids(cat_names=cat_names, **kwargs)


@DATASETS.register_module()
class CocoInstanceDataset(SurvivesUnreadableImages, ChecksAnnotations, CocoDataset):
    """mmdet's CocoDataset with checked class names, annotations and image folder.

    Takes the options of CocoDataset, SurvivesUnreadableImages and ChecksAnnotations. Own classes go
    into ``metainfo=dict(classes=(...))``, in the order of the file's categories; a subset is fine.

    Raises:
        UserError: what :mod:`mmdet_maskr.coco.reader`, :mod:`.option_checks` and
            :mod:`mmdet_maskr.datasets.annotation_checks` find; when the data set is built, which
            the Runner does before the first iteration.
    """

    TITLE = "COCO"  # in the catalogue of configs

    COCOAPI: Callable[..., CheckedCOCO] = CheckedCOCO
    FILTER_OPTIONS: tuple[str, ...] = ("filter_empty_gt", "min_size")

    def __init__(
        self,
        *args,
        metainfo: dict | None = None,
        filter_cfg: dict | None = None,
        **kwargs,
    ) -> None:
        option_checks.check_metainfo(metainfo)
        option_checks.check_filter(filter_cfg, self.FILTER_OPTIONS)
        super().__init__(*args, metainfo=metainfo, filter_cfg=filter_cfg, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Load and parse the annotation file; check it, and that its first image is there.

        With ``test_mode`` the file may lack annotations; evaluation refuses it then.
        """
        self.COCOAPI = partial(self.COCOAPI, may_lack_annotations=self.test_mode)
        data_list = super().load_data_list()
        if self.backend_args is None:
            option_checks.check_image_folder(self.data_prefix["img"], data_list[0]["img_path"])
        return data_list

"""pycocotools' index of an annotation file that has been checked."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence

from mmdet.datasets.api_wrappers import COCO

from mmdet_maskr.coco.reader import category_ids, read_checked


class QuietCOCO(COCO):
    """pycocotools' COCO that does not print that it makes its index."""

    def createIndex(self) -> None:
        """Make the index."""
        with contextlib.redirect_stdout(io.StringIO()):
            super().createIndex()


class CheckedCOCO(QuietCOCO):
    """pycocotools' COCO, strict about its file and about the names that it is asked for.

    Args:
        annotation_file: path of the file.
        **options: of :func:`.read_checked`.

    Raises:
        UserError: no such file, or what :func:`.read_checked` finds.
    """

    def __init__(self, annotation_file: str, **options) -> None:
        super().__init__()
        self.dataset = read_checked(annotation_file, **options)
        self.annotation_file = annotation_file
        self.createIndex()
        self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs

    def get_cat_ids(self, cat_names: Sequence[str] = (), **kwargs) -> list[int]:
        """Category ids of ``cat_names``, each of which must be there, in the order of the names."""
        if not cat_names or kwargs:
            return super().get_cat_ids(cat_names=cat_names, **kwargs)
        used = {annotation["category_id"] for annotation in self.dataset["annotations"]}
        return category_ids(cat_names, self.dataset["categories"], used, self.annotation_file)

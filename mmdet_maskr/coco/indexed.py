"""pycocotools' index of an annotation file that has been checked."""

from __future__ import annotations

from collections.abc import Sequence

from mmdet.datasets.api_wrappers import COCO

from mmdet_maskr.coco.reader import check_classes, read_checked


class CheckedCOCO(COCO):
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
        """Category ids in the file's order; each of ``cat_names`` must be there, in that order."""
        if cat_names:
            in_file = [category["name"] for category in self.dataset["categories"]]
            check_classes(cat_names, in_file, self.annotation_file)
        return super().get_cat_ids(cat_names=cat_names, **kwargs)

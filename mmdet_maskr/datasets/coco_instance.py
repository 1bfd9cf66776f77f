"""COCO instance data sets that say what is wrong before training starts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS

from mmdet_maskr.coco.indexed import CheckedCOCO
from mmdet_maskr.datasets import option_checks
from mmdet_maskr.datasets.annotation_checks import ChecksAnnotations
from mmdet_maskr.datasets.unreadable import SurvivesUnreadableImages


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

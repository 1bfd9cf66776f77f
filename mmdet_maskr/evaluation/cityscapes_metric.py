"""Cityscapes' own AP by cityscapesscripts, on current numpy."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
from mmdet.evaluation import CityScapesMetric
from mmdet.registry import METRICS

from mmdet_maskr import adjustments
from mmdet_maskr.errors import UserError


@METRICS.register_module()
class CityscapesInstanceMetric(CityScapesMetric):
    """mmdet's CityScapesMetric that says what is missing. Options are CityScapesMetric's.

    Args:
        seg_prefix: folder of the split's label images, ``gtFine/val``.
        outfile_prefix: folder for the predictions as images; None for a temporary one.

    Raises:
        UserError: the package cityscapesscripts or the folder of label images is missing.
    """

    tmp_dir = None  # mmdet's destructor asks for it, also after a failed construction

    def __init__(
        self, seg_prefix: str | None = None, outfile_prefix: str | None = None, **options
    ) -> None:
        try:
            scripts = importlib.import_module(
                "cityscapesscripts.evaluation.evalInstanceLevelSemanticLabeling"
            )
        except ImportError as error:
            raise UserError(
                f"Cityscapes' metric needs the package cityscapesscripts ({error}): run "
                "`pip install cityscapesscripts`."
            ) from error
        if seg_prefix is None or not Path(seg_prefix).is_dir():
            raise UserError(
                f"there is no folder of label images {seg_prefix}: set the evaluator's seg_prefix "
                "to gtFine/val of the dataset."
            )
        adjustments.provide_numpy(scripts, in1d=np.isin)  # numpy 2.4 removed it
        super().__init__(outfile_prefix=outfile_prefix, seg_prefix=seg_prefix, **options)

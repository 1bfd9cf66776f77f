"""Datasets that read a folder of any annotation tool."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from mmdet.registry import DATASETS
from mmengine.logging import print_log

from mmdet_maskr.datasets.coco_instance import CocoInstanceDataset
from mmdet_maskr.datasets.coco_keypoint import CocoKeypointDataset
from mmdet_maskr.datasets.formats.prepared import Prepared, Reading, prepare
from mmdet_maskr.datasets.formats.splits import VAL_SHARE
from mmdet_maskr.errors import UserError

TOLD: set[str] = set()  # digests of folders of which this process has said what was assumed
_SET = ("ann_file", "data_prefix", "keypoint_ann_file")


class ReadsFolder(CocoInstanceDataset):
    """A dataset that reads ``data_root`` in any known format, by the COCO file made of a split.

    Args:
        data_root: a folder with annotated photos anywhere below it, or one annotation file.
        split: 'train', 'val' or 'test', as the folder has it; a folder without splits is split by
            ``val_share`` and ``seed``, photos that are alike together.
        format: a key of :data:`mmdet_maskr.datasets.formats.FORMATS`, where the folder has several.
        val_share: of the photos, to validate.
        seed: of the split.
        folds: number of folds, for cross-validation; 0 for a single split.
        fold: which of them validates, from 0.
        val_root: another folder whose photos validate, while all of ``data_root`` train.
        metainfo: ``classes`` in any order; all of the folder's where they are not given. Keypoints
            are the folder's.
        **options: the base class's, but for those that name files.

    Attributes:
        prepared: what the folder was read as.

    Raises:
        UserError: an option that names files, a split that the folder lacks; what reading and
            splitting the folder find.
    """

    def __init__(
        self,
        *,
        data_root: str,
        split: str = "train",
        format: str | None = None,
        val_share: float = VAL_SHARE,
        seed: int = 0,
        folds: int = 0,
        fold: int = 0,
        val_root: str | None = None,
        metainfo: Mapping | None = None,
        **options: Any,
    ) -> None:
        given = [name for name in _SET if name in options]
        if given:
            raise UserError(
                f"{type(self).__name__} finds its files in data_root and does not take "
                f"{' and no '.join(given)}: to set the files yourself, use "
                "CocoInstanceDataset."
            )
        reading = Reading(format, val_share, seed, folds, fold, val_root)
        self.prepared = prepare(data_root, reading)
        files = self.prepared.files
        if split not in files:
            raise UserError(
                f"split={split!r}: {data_root} has {', '.join(map(repr, files))}"
                + ("." if split == "test" else ", and 'train', 'val' and 'test' are possible.")
            )
        meta = {**self._given_by(self.prepared), **(metainfo or {})}
        super().__init__(
            ann_file=str(files[split]),
            data_root=str(self.prepared.root),
            data_prefix=dict(img=""),
            metainfo=meta,
            **options,
        )
        self._metainfo["ann_file"] = self.ann_file  # of CocoInstanceMetric(ann_file='dataset')
        if split == "train" and self.prepared.digest not in TOLD:
            TOLD.add(self.prepared.digest)
            self._tell(data_root)

    def _given_by(self, prepared: Prepared) -> dict:
        return dict(classes=tuple(prepared.summary["classes"]))

    def _tell(self, data_root: str) -> None:
        summary = self.prepared.summary
        for count, what in ((count, what) for what, count in summary["assumed"]):
            print_log(f"{data_root} ({summary['format']}): {count} {what}", logger="current")
        found = summary["leaks"]
        if found:
            train, other = found[0]
            print_log(
                f"{data_root}: {len(found)} photos for validation or test are also in the "
                f"training set, so the scores will be too high; the first is {other}, the "
                f"same as {train}.",
                logger="current",
                level=logging.WARNING,
            )


@DATASETS.register_module()
class AnyInstanceDataset(ReadsFolder):
    """Instances of a folder, whichever tool annotated it: see :class:`ReadsFolder`.

    ``val_evaluator=dict(type='CocoInstanceMetric', ann_file='dataset', ...)`` scores it.

    Raises:
        UserError: as CocoInstanceDataset; what reading and splitting the folder find.
    """

    TITLE = "a folder of any annotation format"


@DATASETS.register_module()
class AnyKeypointDataset(ReadsFolder, CocoKeypointDataset):
    """Instances of a folder with their keypoints, which names, swaps and skeleton come with.

    Names with left and right in them are what a mirrored image exchanges. Sigmas are 0.05, or
    COCO's where the names are.

    Raises:
        UserError: as CocoKeypointDataset; what reading and splitting the folder find; there are no
            keypoints.
    """

    TITLE = "a folder of any annotation format with keypoints"

    def _given_by(self, prepared: Prepared) -> dict:
        keypoints = prepared.summary["keypoints"]
        if keypoints is None:
            raise UserError(
                f"{prepared.summary['source']} has no keypoints: use AnyInstanceDataset."
            )
        return {**super()._given_by(prepared), **keypoints}

"""COCO datasets with keypoints: persons, and the joint form with 80 classes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.fileio import get_local_path, join_path
from mmengine.logging import print_log
from mmengine.utils import is_abs

from mmdet_maskr.coco import keypoint_checks, keypoint_meta
from mmdet_maskr.coco.check.trainable import why_skipped
from mmdet_maskr.coco.index import AnnotationIndex, Flag
from mmdet_maskr.coco.indexed import CheckedCOCO
from mmdet_maskr.coco.reader import checked_index, read_checked
from mmdet_maskr.datasets.coco_instance import CocoInstanceDataset
from mmdet_maskr.datasets.indexed_items import IndexedItems
from mmdet_maskr.datasets.indexed_keypoints import find_keypoints
from mmdet_maskr.errors import UserError


class KeypointCOCO(CheckedCOCO):
    """COCO annotations whose ``keypoints`` are checked, and K x 3 float32 arrays x, y, v.

    Annotations of classes without keypoints have none, even if the file lists some.

    Args:
        annotation_file: path of the file with boxes, masks and, without the next one, keypoints.
        metainfo: of the dataset.
        keypoint_ann_file: path of a file with the keypoints of the same annotations.
        **options: CheckedCOCO's.

    Raises:
        UserError: what CheckedCOCO and :mod:`mmdet_maskr.coco.keypoint_checks` find.
    """

    def __init__(
        self,
        annotation_file: str,
        metainfo: Mapping,
        keypoint_ann_file: str | None = None,
        **options,
    ) -> None:
        super().__init__(annotation_file, **options)
        source, self.keypoint_file = self.dataset, annotation_file
        if keypoint_ann_file is not None:
            source = read_checked(keypoint_ann_file, "keypoint_ann_file", crowds="keep")
            self.keypoint_file = keypoint_ann_file
            keypoint_checks.join_by_id(self.dataset, source, annotation_file, keypoint_ann_file)
        names, classes = metainfo["keypoints"], _keypoint_classes(metainfo)
        categories = [c for c in source["categories"] if c["name"] in classes]
        for category in categories:
            keypoint_checks.check_category_keypoints(category, names, self.keypoint_file)
        keypoint_checks.check_keypoints_present(
            categories, source["annotations"], self.keypoint_file
        )
        self._read_keypoints(classes, len(names))

    def _read_keypoints(self, classes: set[str], num_keypoints: int) -> None:
        ids = {c["id"] for c in self.dataset["categories"] if c["name"] in classes}
        wanted = [a for a in self.dataset["annotations"] if a["category_id"] in ids]
        having = [a for a in wanted if "keypoints" in a]
        points = keypoint_checks.read_keypoints(having, num_keypoints, self.keypoint_file)
        unused = sum("keypoints" in a for a in self.dataset["annotations"]) - len(having)
        for annotation in self.dataset["annotations"]:
            annotation.pop("keypoints", None)
        labeled = (points[..., 2] > 0).sum(1).tolist()
        for annotation, own, number in zip(having, points, labeled, strict=True):
            annotation.update(keypoints=own, num_keypoints=number)
        missing = len(wanted) - len(having)
        _tell_keypoints(self.keypoint_file, classes, len(wanted), missing, unused)


@DATASETS.register_module()
class CocoKeypointDataset(CocoInstanceDataset):
    """COCO instances with keypoints; as it stands, COCO's persons.

    Every instance has ``keypoints``: K x 3 float32, x and y as in the file (pixel indices of the
    original image) and visibility v, all zeros where an annotation has none; and
    ``num_keypoints``, the number of those with v > 0. Every image has ``keypoint_flip_indices``,
    the K indices that :func:`mmdet_maskr.coco.keypoint_meta.flip_indices` returns.

    Own keypoints go into ``metainfo``, see :mod:`mmdet_maskr.coco.keypoint_meta`; what goes
    with COCO's names (swaps, sigmas, skeleton, colors) does not carry over to others.

    Args:
        keypoint_ann_file: file with the keypoints, where ``ann_file`` has none; joined by
            annotation id. Relative to ``data_root`` as ``ann_file`` is.
        filter_cfg: CocoDataset's, and ``min_visible_keypoints``: images with fewer keypoints with
            v > 0, in all annotations but crowds, are left out of training (Detectron2's
            MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE).

    Raises:
        UserError: as CocoInstanceDataset; what :mod:`mmdet_maskr.coco.keypoint_meta` and
            :mod:`mmdet_maskr.coco.keypoint_checks` find.
    """

    TITLE = "COCO person keypoints"
    COCOAPI = KeypointCOCO
    INDEXED_API = KeypointCOCO

    METAINFO = dict(
        classes=("person",),
        palette=CocoDataset.METAINFO["palette"][:1],
        **keypoint_meta.COCO_PERSON,
    )
    FILTER_OPTIONS = (*CocoInstanceDataset.FILTER_OPTIONS, "min_visible_keypoints")

    def __init__(self, *args, keypoint_ann_file: str | None = None, **kwargs) -> None:
        self.keypoint_ann_file = keypoint_ann_file
        super().__init__(*args, **kwargs)

    @classmethod
    def _load_metainfo(cls, metainfo: Mapping | Config | None = None) -> dict:
        loaded = super()._load_metainfo(metainfo)
        given = metainfo or {}
        if "keypoints" in given:
            for key in keypoint_meta.KEYS_OF_NAMES:
                if key not in given:
                    loaded.pop(key, None)
        keypoint_meta.check_keypoint_meta(loaded)
        return loaded

    def _join_prefix(self) -> None:
        super()._join_prefix()
        file = self.keypoint_ann_file
        if file is not None and self.data_root and not is_abs(file):
            self.keypoint_ann_file = join_path(self.data_root, file)

    def load_data_list(self) -> list[dict]:
        """Load, check and parse the annotation file and, where there is one, the keypoints'."""
        file = self.keypoint_ann_file
        self._flip_indices = keypoint_meta.flip_indices(self._metainfo)
        local = nullcontext() if file is None else get_local_path(file, self.backend_args)
        with local as path:
            self._keypoint_path = path
            return super().load_data_list()

    def _takes(self, index: AnnotationIndex) -> bool:
        path = self._keypoint_path
        source = index if path is None else checked_index(path, "keypoint_ann_file")
        names, classes = self._metainfo["keypoints"], _keypoint_classes(self._metainfo)
        for category in source.categories:
            if category["name"] in classes:
                keypoint_checks.check_category_keypoints(category, names, str(source.path))
        found = find_keypoints(index, source, classes, len(names))
        if found is None:
            return False
        _tell_keypoints(str(source.path), classes, found.wanted, found.missing, found.unused)
        self._keypoints, self._labeled = found.keypoints, found.labeled
        return True

    def _api_options(self) -> dict:
        own = dict(metainfo=self._metainfo, keypoint_ann_file=self._keypoint_path)
        return dict(super()._api_options(), **own)

    def _annotations(self, index: AnnotationIndex, numbers: np.ndarray) -> list[dict]:
        annotations = super()._annotations(index, numbers)
        for annotation in annotations:
            annotation.pop("keypoints", None)
        having = np.flatnonzero(self._keypoints.starts[numbers] >= 0)
        points = self._keypoints.points(numbers[having])
        labeled = (points[..., 2] > 0).sum(1).tolist()
        for place, own, number in zip(having.tolist(), points, labeled, strict=True):
            annotations[place].update(keypoints=own, num_keypoints=number)
        return annotations

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """Parse one image and its annotations; see the class for what is added."""
        image = raw_data_info["raw_img_info"]
        used = [
            annotation
            for annotation in raw_data_info["raw_ann_info"]
            if why_skipped(annotation, image, self.cat2label) is None
        ]
        data_info = super().parse_data_info({**raw_data_info, "raw_ann_info": used})
        none = np.zeros((len(self._flip_indices), 3), np.float32)
        for instance, annotation in zip(data_info["instances"], used, strict=True):
            has = "keypoints" in annotation
            instance["keypoints"] = annotation["keypoints"] if has else none
            instance["num_keypoints"] = annotation["num_keypoints"] if has else 0
        data_info["keypoint_flip_indices"] = list(self._flip_indices)
        return data_info

    PARSERS = (*CocoInstanceDataset.PARSERS, parse_data_info)

    def filter_data(self) -> Any:
        """Leave images out as ``filter_cfg`` says; never in test mode.

        Raises:
            UserError: no image is left.
        """
        kept = super().filter_data()
        labeled = self.__dict__.pop("_labeled", None)
        least = (self.filter_cfg or {}).get("min_visible_keypoints", 0)
        if self.test_mode or not least:
            return kept
        if isinstance(kept, IndexedItems):
            used = self._loaded & ~kept.source.has(Flag.CROWD)
            image = kept.source.arrays["image"][used]
            count = np.bincount(image, labeled[used], minlength=kept.source.num_images)
            enough: Any = kept.take(np.flatnonzero(count[kept.rows] >= least))
        else:
            enough = [info for info in kept if _num_keypoints(info) >= least]
        if not len(enough):
            raise UserError(
                f"filter_cfg=dict(min_visible_keypoints={least}) leaves none of the {len(kept)} "
                f"images of {self.ann_file}."
            )
        print_log(
            f"{self.ann_file}: {len(kept) - len(enough)} of {len(kept)} images have "
            f"fewer than {least} visible keypoints, so they are left out "
            "(filter_cfg.min_visible_keypoints).",
            logger="current",
        )
        return enough


@DATASETS.register_module()
class CocoJointDataset(CocoKeypointDataset):
    """COCO's 80 classes with boxes and masks, and keypoints for the persons among them.

    ``ann_file`` is the instances file and ``keypoint_ann_file`` the person-keypoints file of the
    same split. Own classes need ``metainfo['keypoint_classes']``, unless one is called 'person'.

    Raises:
        UserError: as CocoKeypointDataset; no ``keypoint_ann_file``.
    """

    TITLE = "COCO and person keypoints"

    METAINFO = dict(
        **CocoDataset.METAINFO, **keypoint_meta.COCO_PERSON, keypoint_classes=("person",)
    )

    def __init__(self, *args, keypoint_ann_file: str | None = None, **kwargs) -> None:
        if keypoint_ann_file is None:
            raise UserError(
                "CocoJointDataset needs keypoint_ann_file, the file with the keypoints, "
                "such as 'annotations/person_keypoints_train2017.json' in addition to "
                "ann_file='annotations/instances_train2017.json'. If one file has "
                "everything, use CocoKeypointDataset with metainfo=dict(classes=..., "
                "keypoint_classes=...)."
            )
        super().__init__(*args, keypoint_ann_file=keypoint_ann_file, **kwargs)


def _keypoint_classes(metainfo: Mapping) -> set[str]:
    return set(metainfo.get("keypoint_classes", metainfo["classes"]))


def _tell_keypoints(
    file: str, classes: Collection[str], wanted: int, missing: int, unused: int
) -> None:
    """Log how many annotations of the classes have no keypoints, and how many others have."""
    notes = []
    if missing:
        notes.append(f"{missing} of {wanted} annotations have none")
    if unused:
        notes.append(f"those of {unused} annotations of other classes are not read")
    if notes:
        text = f"{file}: keypoints of {tuple(sorted(classes))}: {'; '.join(notes)}."
        print_log(text, logger="current")


def _num_keypoints(data_info: dict) -> int:
    return sum(i["num_keypoints"] for i in data_info["instances"] if not i["ignore_flag"])

"""Ground truth that COCO's evaluation compares with: of boxes and masks, and of keypoints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from mmdet.datasets.api_wrappers import COCO
from mmengine.logging import MMLogger

from mmdet_maskr.coco import keypoint_checks
from mmdet_maskr.coco.indexed import CheckedCOCO, QuietCOCO
from mmdet_maskr.errors import UserError


class GroundTruth(QuietCOCO):
    """pycocotools' COCO that takes an empty list of results too.

    pycocotools raises IndexError there, so that mmdet's CocoMetric logs an error and gives no
    scores at all; hooks that look for one (the best checkpoint's) then fail.
    """

    def loadRes(self, resFile: str | list[dict]) -> COCO:
        """The results as a COCO object; without any, one that has images and categories only."""
        if not isinstance(resFile, list) or resFile:
            return super().loadRes(resFile)
        nothing = QuietCOCO()
        nothing.dataset = {
            "images": self.dataset["images"],
            "categories": self.dataset["categories"],
            "annotations": [],
        }
        nothing.createIndex()
        return nothing


class GroundTruthFile(CheckedCOCO, GroundTruth):
    """GroundTruth read from an annotation file, which is checked as a dataset's is.

    Annotations without ``iscrowd`` are no crowds, as for datasets; pycocotools raises KeyError.
    """

    def __init__(self, annotation_file: str, **options) -> None:
        super().__init__(annotation_file, **options)
        for annotation in self.dataset["annotations"]:
            annotation.setdefault("iscrowd", 0)


def number_annotations(coco: COCO) -> None:
    """Number the annotations anew from 1 where their ids are not unique integers from 1.

    pycocotools takes a match with annotation 0 for no match, and an annotation whose id occurs
    again for the later one.
    """
    annotations = coco.dataset["annotations"]
    ids = [annotation["id"] for annotation in annotations]
    if len(set(ids)) == len(ids) and all(isinstance(i, int) and i > 0 for i in ids):
        return
    MMLogger.get_current_instance().warning(
        f"{coco.annotation_file}: annotation ids are not unique integers from 1, "
        "which would lower the scores. Evaluation uses new ids."
    )
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    coco.createIndex()


def warn_of_many(coco: COCO, category_ids: Collection[int], max_dets: int) -> None:
    """Warn of images with more objects than detections count.

    Args:
        coco: all annotations.
        category_ids: of the categories that are scored.
        max_dets: how many detections an image and class count.
    """
    wanted = set(category_ids)
    counts = Counter(
        annotation["image_id"]
        for annotation in coco.dataset["annotations"]
        if annotation["category_id"] in wanted and not annotation.get("iscrowd")
    )
    crowded = [image_id for image_id, count in counts.items() if count > max_dets]
    if not crowded:
        return
    image_id, count = counts.most_common(1)[0]
    MMLogger.get_current_instance().warning(
        f"{coco.annotation_file}: {len(crowded)} images have more than {max_dets} "
        f"objects (image {image_id} has {count}), but evaluation counts {max_dets} "
        f"detections per image and class: set the evaluator's max_dets={count}, and "
        "the model's test_cfg.rcnn.max_per_img."
    )


def mask_truth(coco: COCO, category_ids: Collection[int], ann_file: str) -> COCO:
    """The annotations of some categories, each with a mask that pycocotools can read.

    An object with a box only counts as a crowd in its box: its mask is not looked for, and a
    detection within it is no mistake.

    Args:
        coco: all annotations.
        category_ids: of the categories that are scored.
        ann_file: path of the annotation file, for messages.

    Returns:
        ``coco`` itself where all have masks.

    Raises:
        UserError: none has a mask, or one has a polygon of fewer than three points.
    """
    wanted = set(category_ids)
    lacking = 0
    total = 0
    for annotation in coco.dataset["annotations"]:
        if annotation["category_id"] not in wanted:
            continue
        segmentation = annotation.get("segmentation")
        total += 1
        lacking += not segmentation
        if segmentation and not isinstance(segmentation, dict) and min(map(len, segmentation)) < 6:
            raise UserError(
                f"annotation {annotation['id']} of {ann_file} has segmentation "
                f"{segmentation!r}, but metric 'segm' needs a mask: polygons of three or more "
                "points, or an RLE."
            )
    if lacking == 0:
        return coco
    if lacking == total:
        raise UserError(
            f"none of the {total} objects of {ann_file} has a mask, which metric 'segm' "
            "needs: set metric='bbox' if there are only boxes."
        )
    MMLogger.get_current_instance().warning(
        f"{ann_file}: {lacking} of {total} objects have a box but no mask; mask AP ignores them."
    )
    truth = GroundTruth()
    truth.annotation_file = ann_file
    annotations = [_as_crowd(a) if not a.get("segmentation") else a
                   for a in coco.dataset["annotations"]]  # fmt: skip
    truth.dataset = {**coco.dataset, "annotations": annotations}
    truth.createIndex()
    return truth


def _as_crowd(annotation: dict) -> dict:
    x, y, w, h = annotation["bbox"]
    outline = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    return {**annotation, "segmentation": outline, "iscrowd": 1}


def keypoint_truth(
    coco: COCO, category_ids: Collection[int], names: Sequence[str], ann_file: str
) -> GroundTruth:
    """The annotations of some categories, each with ``keypoints`` and ``num_keypoints``.

    One without keypoints counts as COCO's unlabeled people do: it is not looked for, and a
    detection near it is no mistake. Annotations are copies, because COCOeval marks as ignored what
    has no keypoints, and mmdet's ``proposal_fast`` would leave these out.

    Args:
        coco: all annotations.
        category_ids: ids of the categories with keypoints.
        names: of the K keypoints.
        ann_file: path of the annotation file, for messages.

    Raises:
        UserError: what :mod:`mmdet_maskr.coco.keypoint_checks` finds.
    """
    categories = coco.load_cats(list(category_ids))
    for category in categories:
        keypoint_checks.check_category_keypoints(category, names, ann_file)
    keypoint_checks.check_keypoints_present(categories, coco.dataset["annotations"], ann_file)
    wanted = set(category_ids)
    found = [a for a in coco.dataset["annotations"] if a["category_id"] in wanted]
    having = [annotation for annotation in found if "keypoints" in annotation]
    keypoint_checks.read_keypoints(having, len(names), ann_file)
    truth = GroundTruth()
    truth.annotation_file = ann_file
    truth.dataset = {
        "images": coco.dataset["images"],
        "categories": coco.dataset["categories"],
        "annotations": [_with_keypoints(annotation, len(names)) for annotation in found],
    }
    truth.createIndex()
    number_annotations(truth)
    return truth


def _with_keypoints(annotation: dict, num_keypoints: int) -> dict:
    keypoints = annotation.get("keypoints", [0] * (3 * num_keypoints))
    labeled = sum(visibility > 0 for visibility in keypoints[2::3])
    return {"iscrowd": 0, **annotation, "keypoints": keypoints, "num_keypoints": labeled}

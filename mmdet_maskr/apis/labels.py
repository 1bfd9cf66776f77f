"""Detections of an inferencer as records for the writers of annotation formats."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco

from mmdet_maskr.datasets.formats.images import size_of
from mmdet_maskr.datasets.formats.records import Collection, Object, Photo
from mmdet_maskr.errors import UserError

SEEN = 2.0  # COCO's visibility of a keypoint that is in sight; a model does not say more


def labels_of(result: Mapping[str, Any], meta: Mapping[str, Any]) -> Collection:
    """Photos and their objects from the result of a :class:`.MaskRInferencer` call.

    Each object has its mask, or its box if there is no mask. Keypoints are in COCO's coordinates,
    half a pixel less than the inferencer's.

    Args:
        result: result of the call, with ``images`` and ``predictions``.
        meta: the model's ``dataset_meta``.

    Raises:
        UserError: an image is not a file.
    """
    classes = [str(name) for name in meta["classes"]]
    joints = [str(name) for name in meta.get("keypoints", ())]
    having = [str(name) for name in meta.get("keypoint_classes", classes)] if joints else []
    pairs = [[joints.index(a) + 1, joints.index(b) + 1] for a, b in meta.get("skeleton", ())]
    made = Collection("predictions", classes=classes)
    for name, found in zip(result["images"], result["predictions"], strict=True):
        path = Path(str(name))
        if not isinstance(name, str) or not path.is_file():
            raise UserError(
                f"image {name} is not a file: labels can be written only for image files."
            )
        width, height = size_of(path)
        photo = Photo(path.absolute(), width=width, height=height)
        photo.objects = [_object(found, i, classes) for i in range(len(found["labels"]))]
        made.photos.append(photo)
    used = {item.label for photo in made.photos for item in photo.objects if item.keypoints}
    made.keypoints = {name: joints for name in having if name in used}
    made.skeletons = dict.fromkeys(made.keypoints, pairs)
    if made.photos:
        made.root = Path(os.path.commonpath([photo.path.parent for photo in made.photos]))
    return made


def _object(found: Mapping[str, Any], number: int, classes: list[str]) -> Object:
    made = Object(classes[found["labels"][number]])
    if "masks" in found and coco.area(found["masks"][number]) > 0:
        made.rle = found["masks"][number]
    else:
        x, y, right, bottom = found["bboxes"][number]
        made.box = [x, y, right - x, bottom - y]
    points = found["keypoints"][number] if "keypoints" in found else []
    if len(points):
        spots = np.round(np.asarray(points, float) - 0.5, 2)
        made.keypoints = [float(v) for x, y in spots for v in (x, y, SEEN)]
    return made

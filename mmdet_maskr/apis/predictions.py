"""Predictions of an image: filtered by score, reduced to the requested outputs, as plain lists.

Symbols: D detections, K keypoints.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmdet.evaluation import INSTANCE_OFFSET
from mmdet.structures import DetDataSample
from mmdet.structures.mask import encode_mask_results
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmdet_maskr.engine.unwrap import predicting_part
from mmdet_maskr.errors import UserError
from mmdet_maskr.models.mask_heads import ComposedMaskHead
from mmdet_maskr.models.mask_heads.mask_head import last_mask_head
from mmdet_maskr.ops.mask_rle import RLEMasks

Threshold = float | Mapping[str, float]
OTHERS = "default"  # the key of a threshold for all classes that are not named
FIELDS = dict(boxes=("bboxes",), masks=("masks",), keypoints=("keypoints", "keypoint_scores"))


def thresholds_of_classes(
    threshold: Threshold, classes: Sequence[str], name: str, default: float
) -> list[float]:
    """The score threshold of each class.

    Args:
        threshold: one score for all classes, or scores by class name; 'default' is for all other
            classes.
        classes: names of the model's classes.
        name: name of the option, for messages.
        default: threshold of classes without a score, if there is no 'default'.

    Raises:
        UserError: a class is unknown, or a score is not between 0 and 1.
    """
    given: Mapping = threshold if isinstance(threshold, Mapping) else {OTHERS: threshold}
    unknown = [key for key in given if key != OTHERS and key not in classes]
    if unknown:
        close = difflib.get_close_matches(str(unknown[0]), classes, n=3) or list(classes[:8])
        raise UserError(
            f"{name} has the class {unknown[0]!r}, which the model does not have: did you "
            f"mean {' or '.join(map(repr, close))}? ('default' stands for all other "
            "classes.)"
        )
    for key, value in given.items():
        number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
        if not number or not 0 <= value <= 1:
            raise UserError(
                f"{name}={threshold!r}: {key} must be a score from 0 to 1, e.g. 0.3 or "
                "{'person': 0.7, 'default': 0.3}."
            )
    others = given.get(OTHERS, default)
    return [float(given.get(label, others)) for label in classes]


def above(instances: InstanceData, thresholds: Sequence[float]) -> InstanceData:
    """The detections whose scores reach the threshold of their class."""
    least = torch.tensor(thresholds, device=instances.scores.device)[instances.labels]
    return instances[instances.scores >= least]


def check_outputs(outputs: Sequence[str] | None, model: nn.Module, config: str) -> tuple[str, ...]:
    """Check which of boxes, masks and keypoints to return.

    Args:
        outputs: any of 'boxes', 'masks' and 'keypoints'; None for everything that the model
            predicts.
        model: a detector.
        config: its config, for messages.

    Raises:
        UserError: an output is unknown, or the model does not predict it.
    """
    model = predicting_part(model)
    roi_head = getattr(model, "roi_head", None)
    given = dict(
        boxes=True,
        masks=bool(getattr(model, "with_mask", False)),
        keypoints=bool(getattr(roi_head, "with_keypoint", False)),
    )
    if outputs is None:
        return tuple(given)  # nothing is taken away
    if isinstance(outputs, str):
        names: tuple = (outputs,)
    elif isinstance(outputs, list | tuple | set | frozenset):
        names = tuple(outputs)
    else:
        raise UserError(
            f"outputs is a {type(outputs).__name__}: it must be a subset of {(*given,)}."
        )
    for name in names:
        if not isinstance(name, str) or name not in given:
            raise UserError(f"outputs={outputs!r}: there are {tuple(given)}.")
        if not given[name]:
            head, example = {
                "masks": ("mask_head", "maskr_r50_fpn_1x"),
                "keypoints": ("keypoint_head", "maskr_keypoint_r50_fpn_90k"),
            }[name]
            raise UserError(
                f"outputs={outputs!r}: the model of {config} has no {name}, because its roi_head "
                f"has no {head}. Use a model that has one (such as {example}), or leave {name!r} "
                "out."
            )
    return names


def only(instances: InstanceData, outputs: Sequence[str]) -> InstanceData:
    """Drop masks or keypoints that are not in ``outputs``; boxes are always kept."""
    for name, fields in FIELDS.items():
        for field in fields:
            if name not in ("boxes", *outputs) and field in instances:
                instances.pop(field)
    return instances


@contextmanager
def rle_masks(model: nn.Module, enabled: bool = True) -> Iterator[None]:
    """Let a model return RLEs instead of dense masks, if its head and its config allow it.

    Results are written as RLEs anyway, and RLEs are small: 100 dense masks of a 12-megapixel photo
    take 1.2 GB.

    Args:
        model: a detector.
        enabled: False keeps the model as it is.
    """
    detector = predicting_part(model)
    roi_head = getattr(detector, "roi_head", None)
    settings = getattr(roi_head, "test_cfg", None)
    fuses = hasattr(detector, "panoptic_fusion_head")  # lays dense masks over one another
    can = isinstance(last_mask_head(roi_head), ComposedMaskHead) and not fuses
    if not enabled or not can or settings is None or "mask_output" in settings:
        yield
        return
    settings["mask_output"] = "rle"
    try:
        yield
    finally:
        settings.pop("mask_output")


def as_lists(sample: DetDataSample, classes: int = 0) -> dict[str, Any]:
    """The predictions of an image as lists for JSON, highest score first.

    Args:
        sample: data sample with ``pred_instances``, or ``pred_panoptic_seg`` for a panoptic model.
        classes: number of the model's classes.

    Returns:
        ``labels`` (D), ``scores`` (D), ``bboxes`` (D, xyxy); if the model predicts them, ``masks``
        (D RLEs, ``counts`` as a string), ``keypoints`` (D lists of K [x, y]) and
        ``keypoint_scores`` (D lists of K), empty for classes without keypoints. For a panoptic
        model, ``panoptic_seg`` (H, W, 3), uint8 RGB, with the ids of segments as in COCO's PNGs.
    """
    result: dict[str, Any] = {}
    if "pred_panoptic_seg" in sample:
        result["panoptic_seg"] = _panoptic(sample.pred_panoptic_seg.sem_seg, classes)
    if "pred_instances" not in sample:
        return result
    instances = sample.pred_instances
    result.update({key: instances[key].tolist() for key in ("labels", "scores")})
    boxes = instances.bboxes
    result["bboxes"] = getattr(boxes, "tensor", boxes).tolist()
    if "masks" in instances:
        result["masks"] = to_rles(instances.masks)
    if "keypoints" in instances:
        result.update(_keypoint_lists(instances.keypoints, instances.keypoint_scores))
    return result


def of_lists(lists: Mapping[str, Any], size: tuple[int, int], keypoints: int) -> InstanceData:
    """The detections that :func:`as_lists` has made lists of.

    Args:
        lists: of D detections.
        size: (H, W) of the image.
        keypoints: K of the model.
    """
    count = len(lists["labels"])
    found = InstanceData(
        labels=torch.tensor(lists["labels"], dtype=torch.int64),
        scores=torch.tensor(lists["scores"], dtype=torch.float32),
        bboxes=torch.tensor(lists["bboxes"], dtype=torch.float32).reshape(count, 4),
    )
    if "masks" in lists:
        found.masks = RLEMasks(lists["masks"], size)
    if "keypoints" in lists:
        points = torch.zeros(count, keypoints, 3)
        for row, place, score in zip(
            points, lists["keypoints"], lists["keypoint_scores"], strict=True
        ):
            if place:
                row[:, :2], row[:, 2] = torch.tensor(place), torch.tensor(score)
        found.keypoints, found.keypoint_scores = points[..., :2], points[..., 2]
    return found


def _panoptic(segments: Tensor, classes: int) -> np.ndarray:
    """Ids of segments (1, H, W) as colors (H, W, 3): the number is R + 256 G + 256^2 B."""
    ids = segments.cpu().numpy()[0].astype(np.int64)
    ids = np.where(ids % INSTANCE_OFFSET == classes, 0, ids)  # 0 is nothing, in COCO's files
    return np.stack([ids >> shift & 255 for shift in (0, 8, 16)], -1).astype(np.uint8)


def to_rles(masks: Tensor | np.ndarray | RLEMasks) -> list[dict]:
    """COCO RLEs of an image's masks, with ``counts`` as a string, for JSON.

    Args:
        masks: (D, H, W) or RLEMasks.
    """
    if isinstance(masks, RLEMasks):
        rles = masks.rles
    else:
        rles = encode_mask_results(torch.as_tensor(masks).cpu().numpy())
    return [dict(size=list(rle["size"]), counts=_as_text(rle["counts"])) for rle in rles]


def _as_text(counts: bytes | str) -> str:
    return counts.decode() if isinstance(counts, bytes) else counts


def _keypoint_lists(points: Tensor, scores: Tensor) -> dict[str, list]:
    """(D, K, 2) and (D, K) as lists, empty where the scores are zero: classes without keypoints."""
    has_keypoints = scores.ne(0).any(dim=1).tolist()
    return {
        name: [row if has else [] for row, has in zip(values.tolist(), has_keypoints, strict=True)]
        for name, values in (("keypoints", points), ("keypoint_scores", scores))
    }

"""Pictures of a dataset: originals, each transform, and what the model sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import cv2
import numpy as np
from mmdet.datasets import MultiImageMixDataset
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import get_box_tensor
from mmengine.dataset import BaseDataset, ConcatDataset
from mmengine.structures import InstanceData

from mmdet_maskr.datasets import wrappers
from mmdet_maskr.errors import UserError
from mmdet_maskr.visualization.draw import shown
from mmdet_maskr.visualization.labels import FONT, Texts
from mmdet_maskr.visualization.mask_arrays import to_arrays
from mmdet_maskr.visualization.panels import draw_panels, make_panel

MODES = ("transformed", "original", "pipeline")
CAPTION = 26  # pixels above each picture of a pipeline
GAP = 8

Dataset: TypeAlias = BaseDataset | ConcatDataset


def draw_item(dataset: Dataset, index: int, mode: str = "transformed") -> tuple[str, np.ndarray]:
    """Draw an image of a dataset with its ground truth.

    Test pipelines load annotations after they have resized the image, and leave them in pixels of
    the file. They are drawn where they belong.

    Args:
        dataset: perhaps wrapped (RepeatDataset, ConcatDataset, ...).
        index: of the image.
        mode: 'transformed', what comes out of the pipeline, which is what the training sees;
            'original', the image with its annotations; 'pipeline', a picture for each transform
            that changes something, from the original on, side by side.

    Returns:
        The image's path, and the picture (H, W, 3), uint8 RGB.

    Raises:
        UserError: an unknown mode, or a dataset without images or annotations to draw.
    """
    if mode not in MODES:
        raise UserError(f"mode={mode!r}: it must be one of {MODES}.")
    if mode == "transformed":
        if any(isinstance(part, MultiImageMixDataset) for part in wrappers.chain(dataset, index)):
            return draw_packed(dataset[index], dataset.metainfo, late=False)  # never in a test
        inner, _ = wrappers.place_of(dataset, index)
        return draw_packed(dataset[index], inner.metainfo, _loads_late(inner.pipeline.transforms))
    inner, index = wrappers.place_of(dataset, index)
    transforms = list(inner.pipeline.transforms)
    loading = _last_loader(transforms) + 1
    results = inner.get_data_info(index)
    for transform in filter(_is_loader, transforms[:loading]):
        results = _applied(transform, results)
    panels = [("original", _draw_results(results, inner.metainfo))]
    if mode == "original":
        return str(results["img_path"]), panels[0][1]
    late = _loads_late(transforms)
    results = inner.get_data_info(index)
    for number, transform in enumerate(transforms):
        results = _applied(transform, results)
        if all(map(_is_loader, transforms[: number + 1])):
            continue  # that is in the original
        name = type(transform).__name__
        packed = "inputs" in results
        if packed:
            _, picture = draw_packed(results, inner.metainfo, late)
        else:
            picture = _draw_results(results, inner.metainfo, late)
        last = panels[-1][1]
        if picture.shape != last.shape or (picture != last).any():
            panels.append((name, picture))
        if packed:
            break
    path = panels_path(results)
    return path, side_by_side(panels)


def panels_path(results: Mapping) -> str:
    """Path of the image of a pipeline's results, packed or not."""
    if "data_samples" in results:
        return str(results["data_samples"].get("img_path", "image"))
    return str(results.get("img_path", "image"))


def side_by_side(panels: Sequence[tuple[str, np.ndarray]]) -> np.ndarray:
    """Pictures (H, W, 3) next to one another on white, each under its title."""
    height = max(picture.shape[0] for _, picture in panels) + CAPTION
    columns = []
    for title, picture in panels:
        (width, _), _ = cv2.getTextSize(title, FONT, 0.5, 1)
        column = np.full((height, max(picture.shape[1], width + 4) + GAP, 3), 255, np.uint8)
        column[CAPTION : CAPTION + picture.shape[0], : picture.shape[1]] = picture
        cv2.putText(column, title, (2, CAPTION - 8), FONT, 0.5, (40, 40, 40), 1, cv2.LINE_AA)
        columns.append(column)
    return np.hstack(columns)


def _is_loader(transform: object) -> bool:
    return type(transform).__name__.startswith("Load")


def _loads_late(transforms: Sequence) -> bool:
    """Whether annotations are loaded after the image is resized, as test pipelines do: they are
    compared with predictions in pixels of the file, so they keep its size."""
    resizes = [i for i, t in enumerate(transforms) if "Resize" in type(t).__name__]
    return any(map(_is_loader, transforms[resizes[0] :])) if resizes else False


def draw_packed(item: Mapping, meta: Mapping, late: bool) -> tuple[str, np.ndarray]:
    """Draw what a pipeline has packed, with its ground truth.

    Args:
        item: ``inputs`` (C, H, W), and ``data_samples``.
        meta: metainfo of the dataset.
        late: whether annotations are in pixels of the file and the image is resized.

    Returns:
        The image's path, and the picture (H, W, 3), uint8 RGB.

    Raises:
        UserError: the pipeline gives several views of an image.
    """
    inputs = item["inputs"]
    if isinstance(inputs, (list, tuple, Mapping)):
        raise UserError(
            "the pipeline returns several views of an image (test-time augmentation, or "
            "branches), which cannot be drawn as one picture: use mode='original'."
        )
    image = shown(inputs.numpy().transpose(1, 2, 0))
    sample: DetDataSample = item["data_samples"]
    counted = sample.get("gt_instances", InstanceData())
    ignored = sample.get("ignored_instances", InstanceData())
    parts = []
    for instances, crowd in ((counted, False), (ignored, True)):
        if "bboxes" in instances and len(instances):
            parts.append(
                dict(
                    boxes=get_box_tensor(instances.bboxes).numpy(),
                    labels=instances.labels.tolist(),
                    ignored=[crowd] * len(instances),
                    masks=to_arrays(instances.masks) if "masks" in instances else None,
                    keypoints=np.asarray(instances.keypoints) if "keypoints" in instances else None,
                )
            )
    scale = sample.get("scale_factor", (1, 1)) if late else (1, 1)
    return panels_path(item), _draw(image, parts, meta, scale)


def _draw_results(results: Mapping, meta: Mapping, late: bool = False) -> np.ndarray:
    image = shown(results["img"])
    boxes = results.get("gt_bboxes")
    if boxes is None or not len(boxes):
        return _draw(image, [], meta)
    masks, keypoints = results.get("gt_masks"), results.get("gt_keypoints")
    part = dict(
        boxes=np.asarray(get_box_tensor(boxes)),
        labels=np.asarray(results["gt_bboxes_labels"]).tolist(),
        ignored=np.asarray(results.get("gt_ignore_flags", np.zeros(len(boxes)))).tolist(),
        masks=None if masks is None else to_arrays(masks),
        keypoints=None if keypoints is None else np.asarray(keypoints),
    )
    scale = results.get("scale_factor", (1, 1)) if late else (1, 1)
    return _draw(image, [part], meta, scale)


def _draw(
    image: np.ndarray, parts: list[dict], meta: Mapping, scale: Sequence[float] = (1, 1)
) -> np.ndarray:
    """Draw ground truth on an image (H, W, 3) uint8 RGB that is ``scale`` (x, y) times its size."""
    boxes = np.concatenate([np.zeros((0, 4)), *(part["boxes"] for part in parts)])
    labels = [label for part in parts for label in part["labels"]]
    ignored = [flag for part in parts for flag in part["ignored"]]
    with_masks = bool(parts) and all(part["masks"] is not None for part in parts)
    masks = [mask for part in parts for mask in part["masks"]] if with_masks else None
    with_points = bool(parts) and all(part["keypoints"] is not None for part in parts)
    keypoints = np.concatenate([part["keypoints"] for part in parts]) if with_points else None
    boxes = boxes * [*scale, *scale]
    if keypoints is not None:
        keypoints = keypoints * [*scale, 1]
    if masks is not None:
        masks = [_of_size(mask, image.shape) for mask in masks]
    panel = make_panel("", boxes, labels, meta, None, masks, keypoints)
    full = [
        f"{text} (ignored)".strip() if flag else text
        for text, flag in zip(panel.texts.full, ignored, strict=True)
    ]
    panel.texts = Texts(full, panel.texts.short, panel.texts.room)
    return draw_panels(image, [panel], meta)


def _of_size(mask: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    if mask.shape == tuple(shape[:2]):
        return mask
    larger = cv2.resize(mask.astype(np.float32), (shape[1], shape[0]))
    return (larger >= 0.5).astype(np.uint8)


def _last_loader(transforms: Sequence) -> int:
    places = [i for i, t in enumerate(transforms) if _is_loader(t)]
    if not places:
        raise UserError("the pipeline has no transform Load..., so there is nothing to draw.")
    return places[-1]


def _applied(transform, results: dict) -> dict:
    done = transform(results)
    if done is None:
        raise UserError(
            f"{type(transform).__name__} removes everything from image "
            f"{results.get('img_path')}; training uses another image instead. Choose "
            "another --seed, or mode 'original'."
        )
    return done

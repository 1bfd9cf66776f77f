"""Keypoints that follow the image: one mixin for all geometric transforms.

mmdet's transforms write down what they did: which instances stayed (they filter every per-instance
array) and how points moved (``homography_matrix``, in the continuous coordinates of the boxes, in
which the pixel (0, 0) covers [0, 1) x [0, 1)). The mixin reads both after the step, so that no
transform needs keypoint code of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.structures.bbox import BaseBoxes

from mmdet_maskr.errors import UserError

RECORD = "keypoint_record"


@dataclass(frozen=True)
class _Record:
    """What the keypoints were last in step with.

    Attributes:
        homography: (3, 3) from the original image to the image, None before any step.
        image_shape: (height, width) of the image, None before it is loaded.
        boxes: (N, 4) pixels, None where there are none.
        in_image_frame: whether keypoints are in pixels of the image; False where annotations were
            loaded after the image was moved, which leaves them in pixels of the original image.
    """

    homography: np.ndarray | None
    image_shape: tuple[int, int] | None
    boxes: np.ndarray | None
    in_image_frame: bool


def is_unmoved(homography: np.ndarray | None) -> bool:
    """Whether a step, or all steps so far, left every point where it was."""
    return homography is None or np.array_equal(homography, np.eye(3))


def record_step(results: dict, in_image_frame: bool = True) -> None:
    """Write down that ``gt_keypoints`` agree with image and boxes as they are now.

    For loaders and geometric transforms of your own: call it when ``gt_keypoints`` are set or
    moved. Packing refuses keypoints that are not in step.

    Args:
        results: of the pipeline.
        in_image_frame: False where keypoints are in pixels of the original image.
    """
    homography = results.get("homography_matrix")
    results[RECORD] = _Record(
        homography=None if homography is None else np.array(homography),
        image_shape=_image_shape(results),
        boxes=_boxes(results),
        in_image_frame=in_image_frame,
    )


def check_in_step(results: dict) -> None:
    """Check that nothing moved image or boxes since the keypoints last followed.

    Raises:
        UserError: something did, or there is no record of the keypoints at all.
    """
    record: _Record | None = results.get(RECORD)
    image = results.get("img_path") or f"image {results.get('img_id')}"
    if record is None:
        raise UserError(
            f"{image}: gt_keypoints do not come from LoadKeypointAnnotations. In your "
            "own loader, call mmdet_maskr.datasets.transforms.record_step(results) "
            "after you set them."
        )
    shape, homography = _image_shape(results), results.get("homography_matrix")
    if not _same(homography, record.homography):
        what = "the image was moved"
    elif record.image_shape is not None and shape != record.image_shape:
        what = f"the image was changed from (height, width) {record.image_shape} to {shape}"
    elif not _same(_boxes(results), record.boxes):
        what = "boxes were moved, added or taken away"
    else:
        return
    raise UserError(
        f"{image}: {what} by a transform that did not move the keypoints. Use the "
        "transforms KeypointResize, KeypointRandomFlip, KeypointRandomCrop, "
        "KeypointPad, KeypointRandomAffine and KeypointFilterAnnotations. In your "
        "own transform, move the keypoints, then call "
        "mmdet_maskr.datasets.transforms.record_step(results)."
    )


def move_keypoints(
    keypoints: np.ndarray,
    matrix: np.ndarray,
    image_shape: tuple[int, int],
    flip_indices: Sequence[int],
) -> np.ndarray:
    """Keypoints after an affine step of the image.

    As Detectron2's ``transform_keypoint_annotations``: a step that mirrors the image swaps left
    and right; keypoints outside the new image lose their label; without label x = y = 0.

    Args:
        keypoints: (N, K, 3) x, y in pixels (continuous) and visibility.
        matrix: (3, 3) from the old to the new image, continuous coordinates.
        image_shape: (height, width) of the new image.
        flip_indices: (K,) index of each keypoint's mirror image.

    Returns:
        (N, K, 3) float32.
    """
    matrix = np.asarray(matrix, np.float64)
    moved = keypoints.astype(np.float64)
    moved[..., :2] = moved[..., :2] @ matrix[:2, :2].T + matrix[:2, 2]
    if np.linalg.det(matrix[:2, :2]) < 0:  # so a diagonal flip, half a turn, swaps nothing
        moved = moved[:, np.asarray(flip_indices, np.int64)]
    height, width = image_shape
    inside = (moved[..., :2] >= 0).all(-1) & (moved[..., :2] <= (width, height)).all(-1)
    moved[~inside | (moved[..., 2] == 0)] = 0
    return moved.astype(np.float32)


class KeypointsInStep(BaseTransform):
    """Mixin: the step of the next class, with keypoints. Without ``gt_keypoints`` just that step.

    Raises:
        UserError: keypoints were out of step before, or are in pixels of the original image.
    """

    def transform(self, results: dict) -> dict | None:
        """The step, then keypoints of the instances that stayed, moved as the image was."""
        if results.get("gt_keypoints") is None:
            return super().transform(results)
        check_in_step(results)
        record: _Record = results[RECORD]
        keypoints, flags = results["gt_keypoints"], results.get("gt_ignore_flags")
        earlier = results.pop("homography_matrix", None)
        # every transform of mmdet that drops instances drops their flags and reads none of them
        results["gt_ignore_flags"] = np.arange(len(keypoints))
        results = super().transform(results)
        if results is None:
            return None
        kept = results.pop("gt_ignore_flags")
        if flags is not None:
            results["gt_ignore_flags"] = flags[kept]
        keypoints = keypoints[kept]

        step, shape = results.get("homography_matrix"), _image_shape(results)
        if step is not None:
            if record.in_image_frame:
                assert shape is not None  # what has moved an image has recorded its shape
                flip_indices = results["keypoint_flip_indices"]
                keypoints = move_keypoints(keypoints, step, shape, flip_indices)
            elif not is_unmoved(step) or shape != record.image_shape:
                raise UserError(
                    f"{type(self).__name__} moves the image, but the annotations were loaded "
                    "after an earlier geometric transform and are still in pixels of the "
                    "original image. Put LoadKeypointAnnotations before all geometric "
                    "transforms, or after all of them if the ground truth is only drawn."
                )
        if earlier is not None:
            results["homography_matrix"] = earlier if step is None else step @ earlier
        results["gt_keypoints"] = keypoints
        record_step(results, record.in_image_frame)
        return results


def _image_shape(results: dict) -> tuple[int, int] | None:
    image = results.get("img")
    return None if image is None else tuple(image.shape[:2])


def _boxes(results: dict) -> np.ndarray | None:
    boxes = results.get("gt_bboxes")
    if boxes is None:
        return None
    return np.array(boxes.numpy() if isinstance(boxes, BaseBoxes) else boxes)


def _same(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    return a is b or (a is not None and b is not None and np.array_equal(a, b))

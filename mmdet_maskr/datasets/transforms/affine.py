"""Rotation, scale, shear and translation of image, boxes, masks and keypoints."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import autocast_box_type
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from numpy.typing import ArrayLike

from mmdet_maskr.datasets.transforms._in_step import KeypointsInStep
from mmdet_maskr.errors import UserError
from mmdet_maskr.structures import GeometryMasks

_PER_INSTANCE = (
    "gt_bboxes",
    "gt_bboxes_labels",
    "gt_masks",
    "gt_ignore_flags",
    "gt_instances_ids",
)


def affine_matrix(
    rotate_degree: float,
    scale: float,
    shear_degrees: ArrayLike,
    translation: ArrayLike,
    center: ArrayLike,
) -> np.ndarray:
    """Scale, then rotate, then shear about ``center``, then translate.

    Args:
        rotate_degree: from the x axis (right) towards the y axis (down).
        scale: > 0.
        shear_degrees: of x along y and of y along x.
        translation: x, y in pixels.
        center: x, y in pixels, continuous.

    Returns:
        (3, 3) float64 on continuous coordinates.
    """
    radian = np.radians(rotate_degree)
    cos, sin = np.cos(radian), np.sin(radian)
    shear_x, shear_y = np.tan(np.radians(shear_degrees))
    linear = np.array([[1, shear_x], [shear_y, 1]]) @ np.array([[cos, -sin], [sin, cos]]) * scale
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = np.add(center, translation) - linear @ center
    return matrix


def warp_image(
    image: np.ndarray,
    matrix: np.ndarray,
    border: Sequence[float],
    nearest: bool = False,
    shape: tuple[int, int] | None = None,
) -> np.ndarray:
    """An image (H, W) or (H, W, C) moved by ``matrix`` (3, 3), continuous coordinates.

    ``shape`` is the (height, width) of the result, that of the image by default.
    """
    # cv2 counts pixel centers as 0, 1, ...; they lie at 0.5, 1.5, ...
    to_center, to_index = np.eye(3), np.eye(3)
    to_center[:2, 2], to_index[:2, 2] = 0.5, -0.5
    return cv2.warpAffine(
        image,
        (to_index @ matrix @ to_center)[:2],
        image.shape[1::-1] if shape is None else shape[::-1],
        flags=cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR,
        borderValue=border,
    )


def warp_masks(
    masks: BitmapMasks | PolygonMasks, matrix: np.ndarray, shape: tuple[int, int] | None = None
) -> BitmapMasks | PolygonMasks:
    """Masks moved by ``matrix`` (3, 3) and cut at the image's border.

    A polygon that leaves the image becomes mmdet's dummy polygon of three zero points. ``shape`` is
    the (height, width) of the new image, that of the masks by default.
    """
    height, width = (masks.height, masks.width) if shape is None else shape
    if isinstance(masks, GeometryMasks):
        return masks.project(matrix, (height, width))
    if isinstance(masks, PolygonMasks):
        moved = [
            [(p.reshape(-1, 2) @ matrix[:2, :2].T + matrix[:2, 2]).reshape(-1) for p in polygons]
            for polygons in masks
        ]
        return PolygonMasks(moved, height, width).crop(np.array([0, 0, width, height]))
    # of a mask of 0 and 1 cv2 rounds the interpolated value: 1 from one half on
    moved = [warp_image(mask, matrix, (0,), shape=(height, width)) for mask in masks]
    return BitmapMasks(moved, height, width)


class AffineStep(BaseTransform):
    """The random affine step of image, boxes, masks and segmentation map; see the class below.

    Raises:
        UserError: an option out of its range.
    """

    def __init__(
        self,
        max_rotate_degree: float = 10.0,
        max_translate_ratio: float = 0.1,
        scaling_ratio_range: tuple[float, float] = (0.5, 1.5),
        max_shear_degree: float = 2.0,
        border: tuple[int, int] = (0, 0),
        border_val: tuple[float, ...] = (114, 114, 114),
        bbox_clip_border: bool = True,
        recompute_bbox: bool = False,
        prob: float = 1.0,
    ) -> None:
        low, high = scaling_ratio_range
        for accepted, option, value in (
            (max_rotate_degree >= 0, "max_rotate_degree >= 0", max_rotate_degree),
            (0 <= max_translate_ratio <= 1, "max_translate_ratio in [0, 1]", max_translate_ratio),
            (0 < low <= high, "scaling_ratio_range with 0 < min <= max", scaling_ratio_range),
            # two shears of 45 degrees map the image onto a line
            (0 <= max_shear_degree < 45, "max_shear_degree in [0, 45)", max_shear_degree),
            (0 <= prob <= 1, "prob in [0, 1]", prob),
        ):
            if not accepted:
                raise UserError(f"{type(self).__name__} takes {option}, not {value!r}.")
        self.max_rotate_degree = max_rotate_degree
        self.max_translate_ratio = max_translate_ratio
        self.scaling_ratio_range = (low, high)
        self.max_shear_degree = max_shear_degree
        self.border = tuple(int(side) for side in border)
        self.border_val = tuple(border_val)
        self.bbox_clip_border = bbox_clip_border
        self.recompute_bbox = recompute_bbox
        self.prob = prob

    @cache_randomness
    def _draw(self, height: int, width: int) -> np.ndarray | None:
        """A random matrix (3, 3) for an image, None for no step."""
        if np.random.rand() >= self.prob:
            return None
        rotate = np.random.uniform(-self.max_rotate_degree, self.max_rotate_degree)
        scale = np.random.uniform(*self.scaling_ratio_range)
        shear = np.random.uniform(-self.max_shear_degree, self.max_shear_degree, 2)
        shift = np.random.uniform(-self.max_translate_ratio, self.max_translate_ratio, 2)
        size = np.array([width, height])
        center = size / 2
        size, border = size + 2 * np.array(self.border), np.array(self.border)
        if min(size) <= 0:
            raise UserError(
                f"{type(self).__name__}(border={self.border}) leaves nothing of an image of "
                f"{width} x {height} pixels (width x height): the border must be less than "
                "half of the size."
            )
        # float32, as mmdet records it: image and points move by the very same matrix
        shift = shift * size + border
        return affine_matrix(rotate, scale, shear, shift, center).astype(np.float32)

    @autocast_box_type()
    def transform(self, results: dict) -> dict:
        """Move everything but keypoints, drop instances that leave the image."""
        matrix = self._draw(*results["img"].shape[:2])
        if matrix is None:
            return results
        height, width = results["img"].shape[:2]
        shape = (height + 2 * self.border[1], width + 2 * self.border[0])
        results["img"] = warp_image(results["img"], matrix, self.border_val, shape=shape)
        results["img_shape"] = results["img"].shape[:2]
        earlier = results.get("homography_matrix")
        results["homography_matrix"] = matrix if earlier is None else matrix @ earlier
        if results.get("gt_seg_map") is not None:
            ignore = (results.get("ignore_index", 255),)
            results["gt_seg_map"] = warp_image(
                results["gt_seg_map"], matrix, ignore, nearest=True, shape=shape
            )
        if results.get("gt_bboxes") is not None:
            keep = self._move_instances(results, matrix)
            for key in _PER_INSTANCE:
                if results.get(key) is not None:
                    results[key] = results[key][keep]
        return results

    def _move_instances(self, results: dict, matrix: np.ndarray) -> np.ndarray:
        """Move boxes and masks; return which instances (N,) stay."""
        boxes, masks, shape = results["gt_bboxes"], results.get("gt_masks"), results["img_shape"]
        boxes.project_(matrix)
        if self.bbox_clip_border:
            boxes.clip_(shape)
        keep = boxes.is_inside(shape).numpy()
        if self.recompute_bbox and masks is None:
            raise UserError(
                f"{type(self).__name__}(recompute_bbox=True) needs masks: load them with "
                "LoadKeypointAnnotations(with_mask=True)."
            )
        if masks is None:
            return keep
        results["gt_masks"] = warp_masks(masks, matrix, shape)
        if self.recompute_bbox:
            had, has = masks.areas > 0, results["gt_masks"].areas > 0
            tight = results["gt_masks"].get_bboxes(type(boxes)).tensor
            # an instance that never had a mask (mmdet ignores it) keeps the box of its corners
            boxes.tensor = torch.where(torch.from_numpy(has)[:, None], tight, boxes.tensor)
            keep &= has | ~had
        return keep

    def __repr__(self) -> str:
        options = ", ".join(
            f"{name}={getattr(self, name)!r}"
            for name in (
                "max_rotate_degree",
                "max_translate_ratio",
                "scaling_ratio_range",
                "max_shear_degree",
                "border",
                "border_val",
                "bbox_clip_border",
                "recompute_bbox",
                "prob",
            )
        )
        return f"{type(self).__name__}({options})"


@TRANSFORMS.register_module()
class KeypointRandomAffine(KeypointsInStep, AffineStep):
    """Random scale, rotation and shear about the image's center, and translation.

    Instead of mmdet's RandomAffine, which shares the names of its options: that one rotates about
    the corner, refuses masks, and applies the matrix of its boxes to pixel indices of the image.
    Here image, boxes, bitmap and polygon masks, segmentation map and keypoints move by one matrix
    on continuous coordinates; without ``border`` the image keeps its size. Boxes are the bounds of
    their moved corners, cut at the image's border. An instance whose box leaves the image is
    dropped with all its fields.

    Args:
        max_rotate_degree: angle drawn from [-max, max].
        max_translate_ratio: translation drawn from [-max, max] times width and height.
        scaling_ratio_range: scale drawn from [min, max].
        max_shear_degree: shear of x and of y drawn from [-max, max], below 45.
        border: pixels (x, y) that the image grows by on each side, or shrinks by where negative;
            mosaics are cut to one image's size by it. The center stays the center.
        border_val: color of what lies outside the old image.
        bbox_clip_border: cut boxes at the image's border.
        recompute_bbox: boxes are the bounds of the moved masks; an instance whose mask leaves the
            image is dropped too.
        prob: of a step at all.

    Raises:
        UserError: an option out of range; ``recompute_bbox`` without masks; a ``border`` that
            leaves nothing of an image.
    """

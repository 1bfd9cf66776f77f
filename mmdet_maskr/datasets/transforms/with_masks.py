"""mmdet's transforms that ignore or misplace masks, corrected.

Boxes are moved rightly by all of them, so their moves are written down and repeated on the masks;
no transform needs mask code of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.datasets.transforms import (
    CachedMixUp,
    CachedMosaic,
    MixUp,
    Mosaic,
    RandomShift,
    Rotate,
    ShearX,
    ShearY,
)
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes, autocast_box_type, get_box_tensor
from mmdet.structures.mask import BitmapMasks, PolygonMasks

from mmdet_maskr.datasets.transforms.affine import warp_masks
from mmdet_maskr.errors import UserError

Masks: TypeAlias = BitmapMasks | PolygonMasks


class _BoxesWithMasks(HorizontalBoxes):
    """N boxes, the mask of each as it was loaded, and what was done to the box since.

    Attributes:
        masks: N single masks, of the size of the image that they were loaded with.
        moves: N matrices (3, 3) on continuous coordinates.
    """

    masks: list[Masks]
    moves: list[np.ndarray]

    @classmethod
    def of(cls, boxes: Any, masks: list[Masks], moves: list[np.ndarray]) -> _BoxesWithMasks:
        """Boxes (N, 4) of any kind with their masks."""
        made = cls(get_box_tensor(boxes))
        made.masks, made.moves = masks, moves
        return made

    def _move(self, matrix: Sequence[Sequence[float]]) -> None:
        step = np.array(matrix, np.float64)
        self.moves = [step @ move for move in self.moves]

    def rescale_(self, scale_factor: tuple[float, float]) -> None:
        super().rescale_(scale_factor)
        x, y = scale_factor
        self._move([[x, 0, 0], [0, y, 0], [0, 0, 1]])

    def translate_(self, distances: tuple[float, float]) -> None:
        super().translate_(distances)
        x, y = distances
        self._move([[1, 0, x], [0, 1, y], [0, 0, 1]])

    def flip_(self, img_shape: tuple[int, int], direction: str = "horizontal") -> None:
        super().flip_(img_shape, direction)
        height, width = img_shape
        x, y = direction != "vertical", direction != "horizontal"
        self._move([[1 - 2 * x, 0, width * x], [0, 1 - 2 * y, height * y], [0, 0, 1]])

    def clone(self) -> _BoxesWithMasks:
        return self.of(self.tensor, self.masks, self.moves)

    def __deepcopy__(self, memo: dict) -> _BoxesWithMasks:
        return self.clone()  # masks and moves are replaced, never changed

    def __getitem__(self, index: Any) -> _BoxesWithMasks:
        chosen = np.atleast_1d(np.arange(len(self))[np.asarray(index)])
        kept = [[values[i] for i in chosen] for values in (self.masks, self.moves)]
        return self.of(self.tensor[chosen], *kept)

    @classmethod
    def cat(cls, box_list: Sequence[Any], dim: int = 0) -> _BoxesWithMasks:
        joined = HorizontalBoxes.cat([HorizontalBoxes(b.tensor) for b in box_list], dim)
        masks = [mask for boxes in box_list for mask in boxes.masks]
        return cls.of(joined, masks, [move for boxes in box_list for move in boxes.moves])

    def moved_masks(self, like: Masks, shape: tuple[int, int]) -> Masks:
        """The masks where their boxes are, cut at the border of an image of ``shape``."""
        moved = [
            warp_masks(mask, move, shape) for mask, move in zip(self.masks, self.moves, strict=True)
        ]
        return type(like).cat(moved) if moved else type(like)([], *shape)


class MasksFollowBoxes(BaseTransform):
    """Mixin: the step of the next class, with masks that follow their boxes.

    Without ``gt_masks`` just that step. Its image may be mixed with those of ``mix_results``.

    Raises:
        UserError: an image of ``mix_results`` has objects and no masks.
    """

    @autocast_box_type()
    def transform(self, results: dict) -> dict | None:
        """The step, then each mask moved as its box was."""
        masks = results.get("gt_masks")
        if masks is None:
            return super().transform(results)
        # copies: an image may be mixed with itself, or be there twice
        others = [self._with_masks(image) for image in results.get("mix_results", ())]
        results = self._with_masks(results)
        if others:
            results["mix_results"] = others
        before = results["gt_bboxes"].moves
        moved = super().transform(results)
        if moved is None:
            return None
        boxes = moved["gt_bboxes"]
        shape = moved["img"].shape[:2]
        untouched = boxes.moves is before and shape == (masks.height, masks.width)
        moved["gt_masks"] = masks if untouched else boxes.moved_masks(masks, shape)
        moved["gt_bboxes"] = HorizontalBoxes(boxes.tensor)
        return moved

    def _with_masks(self, image: dict) -> dict:
        """A copy of an image's results whose boxes hold the masks."""
        boxes = image["gt_bboxes"]
        masks: Any = image.get("gt_masks")
        if masks is None and len(boxes):
            raise UserError(
                f"{type(self).__name__} mixes images with and without gt_masks: load masks of all "
                "(with_mask=True) or of none."
            )
        singles = [masks[[i]] for i in range(len(boxes))]
        moves = [np.eye(3)] * len(boxes)
        kept = {name: value for name, value in image.items() if name != "gt_masks"}
        return dict(kept, gt_bboxes=_BoxesWithMasks.of(boxes, singles, moves))


@TRANSFORMS.register_module()
class InstanceRandomShift(MasksFollowBoxes, RandomShift):
    """mmdet's RandomShift, with masks; mmdet's own leaves them where they were."""


@TRANSFORMS.register_module()
class InstanceMosaic(MasksFollowBoxes, Mosaic):
    """mmdet's Mosaic, with masks; mmdet's own keeps those of the first image alone."""


@TRANSFORMS.register_module()
class InstanceMixUp(MasksFollowBoxes, MixUp):
    """mmdet's MixUp, with masks; mmdet's own keeps those of the first image alone."""


@TRANSFORMS.register_module()
class InstanceCachedMosaic(MasksFollowBoxes, CachedMosaic):
    """mmdet's CachedMosaic, with masks of the image's size also where it is not square."""


@TRANSFORMS.register_module()
class InstanceCachedMixUp(MasksFollowBoxes, CachedMixUp):
    """mmdet's CachedMixUp, with masks that are flipped as a padded image is."""


class PolygonsMove(BaseTransform):
    """Mixin: polygons move by the matrix of the boxes and are cut at the border; bitmaps too."""

    homography_matrix: np.ndarray

    def _transform_masks(self, results: dict, mag: float) -> None:
        if isinstance(results["gt_masks"], PolygonMasks):
            results["gt_masks"] = warp_masks(results["gt_masks"], self.homography_matrix)
        else:
            super()._transform_masks(results, mag)


@TRANSFORMS.register_module()
class InstanceRotate(PolygonsMove, Rotate):
    """mmdet's Rotate, with polygons that turn about the image's center; mmdet's turn elsewhere."""


@TRANSFORMS.register_module()
class InstanceShearX(PolygonsMove, ShearX):
    """mmdet's ShearX, with polygons that are cut at the border; mmdet's are bent along it."""


@TRANSFORMS.register_module()
class InstanceShearY(PolygonsMove, ShearY):
    """mmdet's ShearY, with polygons that are cut at the border; mmdet's are bent along it."""

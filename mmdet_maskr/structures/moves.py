"""mmdet's geometric steps of masks as matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import mmcv
import numpy as np
from mmdet.structures.mask import BitmapMasks

if TYPE_CHECKING:
    from typing_extensions import Self


class MovesByMatrix:
    """The steps of mmdet's masks for masks that can be moved by any affine matrix.

    What a matrix cannot do, such as a border of other values than 0, is done to the pixels. The
    parts of a subclass are :meth:`project` and :meth:`to_bitmap`.

    Attributes:
        height: of the image, pixels.
        width: of the image, pixels.
    """

    height: int
    width: int

    def project(self, matrix: np.ndarray, out_shape: tuple[int, int], within: bool = False) -> Self:
        """Masks moved by a matrix and cut at the borders of the old image and the new one.

        Args:
            matrix: (3, 3), affine, on continuous coordinates.
            out_shape: (H, W) of the new image.
            within: whether all of the new image lies in the old one.
        """
        raise NotImplementedError

    def to_bitmap(self) -> BitmapMasks:
        """mmdet's bitmaps of the pixels."""
        raise NotImplementedError

    def rescale(self, scale: Any, interpolation: str | None = None) -> Self:
        """As large as fits ``scale`` with the ratio kept, see mmcv.rescale_size."""
        width, height = mmcv.rescale_size((self.width, self.height), scale)
        return self.resize((height, width))

    def resize(self, out_shape: tuple[int, int], interpolation: str | None = None) -> Self:
        """To ``out_shape`` (H, W)."""
        x, y = out_shape[1] / self.width, out_shape[0] / self.height
        return self.project(np.diag([x, y, 1.0]), out_shape, within=True)

    def flip(self, flip_direction: str = "horizontal") -> Self:
        """'horizontal', 'vertical' or 'diagonal' (both)."""
        assert flip_direction in ("horizontal", "vertical", "diagonal")
        matrix = np.eye(3)
        if flip_direction != "vertical":
            matrix[0] = -1, 0, self.width
        if flip_direction != "horizontal":
            matrix[1] = 0, -1, self.height
        return self.project(matrix, (self.height, self.width), within=True)

    def pad(self, out_shape: tuple[int, int], pad_val: int = 0) -> BitmapMasks:
        """To ``out_shape`` (H, W), on the right and below; other values than 0 need bitmaps."""
        if pad_val:
            return self.to_bitmap().pad(out_shape, pad_val)
        return self.project(np.eye(3), out_shape)

    def crop(self, bbox: np.ndarray) -> Self:
        """To a box (4,) of whole pixels x1, y1, x2, y2, itself cut at the image's border."""
        limits = np.array([self.width, self.height] * 2)
        x1, y1, x2, y2 = np.clip(bbox, 0, limits)
        shape = (max(int(y2 - y1), 1), max(int(x2 - x1), 1))
        within = y1 + shape[0] <= self.height and x1 + shape[1] <= self.width
        return self.project(_shift(-x1, -y1), shape, within)

    def expand(self, expanded_h: int, expanded_w: int, top: int, left: int) -> Self:
        """Into a larger image of (``expanded_h``, ``expanded_w``), at row top and column left."""
        return self.project(_shift(left, top), (expanded_h, expanded_w))

    def translate(
        self,
        out_shape: tuple[int, int],
        offset: float,
        direction: str = "horizontal",
        border_value: int = 0,
        interpolation: str = "bilinear",
    ) -> BitmapMasks:
        """Moved right or down (direction 'vertical') and cut to ``out_shape`` (H, W)."""
        if border_value:
            return self.to_bitmap().translate(
                out_shape, offset, direction, border_value, interpolation
            )
        assert direction in ("horizontal", "vertical")
        # as mmdet, cut before it is moved
        seen = np.array([0, 0, min(self.width, out_shape[1]), min(self.height, out_shape[0])])
        shift = _shift(offset, 0) if direction == "horizontal" else _shift(0, offset)
        return self.crop(seen).project(shift, out_shape)

    def shear(
        self,
        out_shape: tuple[int, int],
        magnitude: float,
        direction: str = "horizontal",
        border_value: int = 0,
        interpolation: str = "bilinear",
    ) -> BitmapMasks:
        """x moved by ``magnitude`` times y, or y by x (direction 'vertical'), of pixel centers."""
        if border_value:
            return self.to_bitmap().shear(
                out_shape, magnitude, direction, border_value, interpolation
            )
        assert direction in ("horizontal", "vertical")
        matrix = np.eye(3)
        matrix[(0, 1) if direction == "horizontal" else (1, 0)] = magnitude
        return self.project(_of_centers(matrix), out_shape)

    def rotate(
        self,
        out_shape: tuple[int, int],
        angle: float,
        center: tuple[float, float] | None = None,
        scale: float = 1.0,
        border_value: int = 0,
        interpolation: str = "bilinear",
    ) -> BitmapMasks:
        """By ``angle`` degrees, clockwise as mmcv.imrotate, about ``center``.

        Args:
            out_shape: (H, W).
            angle: degrees.
            center: x, y in pixel centers, so that the middle of the first pixel is (0, 0); the
                middle of the image by default.
            scale: factor of sizes.
            border_value: other values than 0 need bitmaps.
            interpolation: of bitmaps.
        """
        if border_value:
            return self.to_bitmap().rotate(
                out_shape, angle, center, scale, border_value, interpolation
            )
        if center is None:
            center = ((self.width - 1) / 2, (self.height - 1) / 2)
        matrix = np.eye(3)
        matrix[:2] = cv2.getRotationMatrix2D(center, -angle, scale)
        return self.project(_of_centers(matrix), out_shape)


def _shift(x: float, y: float) -> np.ndarray:
    matrix = np.eye(3)
    matrix[:2, 2] = x, y
    return matrix


def _of_centers(matrix: np.ndarray) -> np.ndarray:
    """A matrix on the indices of pixels, which OpenCV moves, for continuous coordinates."""
    return _shift(0.5, 0.5) @ matrix @ _shift(-0.5, -0.5)

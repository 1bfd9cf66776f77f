"""Masks that stay geometry until pixels are needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pycocotools.mask
import torch
from mmdet.structures.bbox import BaseBoxes, get_box_type
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from torch import Tensor

from mmdet_maskr.errors import UserError
from mmdet_maskr.ops.outline_fill import crossings
from mmdet_maskr.run_lengths import rles
from mmdet_maskr.structures.drawing import draw_in_boxes
from mmdet_maskr.structures.moves import MovesByMatrix
from mmdet_maskr.structures.outlines import Outlines
from mmdet_maskr.structures.shapes import RunLengths, Shape, shape_of, shape_of_state
from mmdet_maskr.structures.windows import Window, window_of


class GeometryMasks(MovesByMatrix, BitmapMasks):
    """Masks of an image as its file has them, polygons or RLEs, and how they were moved since.

    A transform changes a matrix and, where it cuts, a window; it costs the same for any size. The
    pixels are drawn when they are asked for, once, at the final size: those of pycocotools for the
    moved polygons. For code that knows mmdet's bitmaps this is one: ``masks`` gives the pixels
    (N, H, W), takes others, and may be changed in place; masks whose pixels were changed are run
    lengths from then on.

    Coordinates are continuous: the pixel (0, 0) covers [0, 1) x [0, 1). Lengths are in pixels.

    Args:
        masks: for each of N instances a list of polygons x, y, x, y, ..., an RLE (compressed or
            not), or pixels (H, W); pixels also as one array (N, H, W).
        height: H of the image.
        width: W of the image.

    Attributes:
        shapes: N shapes, in pixels of the image that they were loaded with.
        matrices: (N, 3, 3) float64 from there to this image.
        windows: N parts of this image that were never cut off, None for all of it.

    Raises:
        UserError: a mask is none of these, or an RLE or pixels of another size.
    """

    def __init__(self, masks: Sequence[Any] | np.ndarray, height: int, width: int) -> None:
        self.height, self.width = int(height), int(width)
        self._pixels: np.ndarray | None = None  # given to a caller, who may change them
        self._drawn: list[dict] | None = None  # what they were; None where the caller gave them
        self._load([shape_of(mask) for mask in masks])

    def _load(self, shapes: Sequence[Shape]) -> None:
        """Take shapes of this image, unmoved."""
        for shape in shapes:
            if isinstance(shape, RunLengths) and shape.rle["size"] != [self.height, self.width]:
                raise UserError(
                    f"an RLE has the size {shape.rle['size']}, but its image "
                    f"{[self.height, self.width]} (height, width)."
                )
        self.shapes = list(shapes)
        self.matrices = np.tile(np.eye(3), (len(shapes), 1, 1))
        self.windows: list[Window | None] = [None] * len(shapes)

    @classmethod
    def _of(
        cls,
        shapes: list[Shape],
        matrices: np.ndarray,
        windows: list[Window | None],
        size: tuple[int, int],
    ) -> GeometryMasks:
        made = cls.__new__(cls)
        made.height, made.width = size
        made.shapes, made.matrices, made.windows = shapes, matrices, windows
        made._pixels = made._drawn = None
        return made

    # Pixels -----------------------------------------------------------------------------------

    @property
    def masks(self) -> np.ndarray:
        """(N, H, W) uint8 pixels, 1 inside."""
        if self._pixels is None:
            self._drawn = self.to_rles()
            self._pixels = _decoded(self._drawn, (self.height, self.width))
        return self._pixels

    @masks.setter
    def masks(self, pixels: np.ndarray) -> None:
        """Take pixels (N, H, W) in place of what is kept."""
        self._pixels, self._drawn = np.asarray(pixels), None

    def _settle(self) -> None:
        """Take over what a caller did to the pixels."""
        if self._pixels is None:
            return
        pixels, drawn = self._pixels, self._drawn
        self._pixels = self._drawn = None
        found = [RunLengths.of_bitmap(mask) for mask in pixels]
        if drawn is None:
            self._load(found)
            return
        for i, (shape, rle) in enumerate(zip(found, drawn, strict=True)):
            if shape.rle["counts"] != rle["counts"]:
                self.shapes[i], self.matrices[i], self.windows[i] = shape, np.eye(3), None

    @property
    def known(self) -> np.ndarray:
        """(N,) bool: False for objects with a box only, whose box stands for the mask."""
        self._settle()
        return np.array([shape.known for shape in self.shapes], bool)

    def outlines(self) -> Outlines:
        """Edges of all masks in pixels of this image, and of the windows that cut them."""
        self._settle()
        return Outlines.of(self.shapes, self.matrices, self.windows)

    def to_rles(self) -> list[dict]:
        """The pixels as N compressed RLEs, with ``size`` [H, W] and ``counts`` (bytes)."""
        self._settle()
        size = (self.height, self.width)
        found: list[dict] = [dict()] * len(self)
        moved = []
        for i, (shape, matrix) in enumerate(zip(self.shapes, self.matrices, strict=True)):
            if (
                isinstance(shape, RunLengths)
                and self.windows[i] is None
                and shape.rle["size"] == [*size]
                and np.array_equal(matrix, np.eye(3))
            ):
                found[i] = shape.rle
            else:
                moved.append(i)
        for i, rle in zip(moved, self[moved]._draw(), strict=True):
            found[i] = rle
        return found

    def _draw(self) -> list[dict]:
        if len(self) == 0:
            return []
        size, outlines = (self.height, self.width), self.outlines()
        edge, column, row = (
            values.numpy() for values in crossings(torch.from_numpy(outlines.edges), size)
        )
        # changes of a part in the order of COCO's run lengths; two at one place are none
        total = self.height * self.width + 1
        keys = outlines.part[edge] * total + column * self.height + row
        keys, times = np.unique(keys, return_counts=True)
        part, position = np.divmod(keys[times % 2 == 1], total)
        bounds = np.searchsorted(part, np.arange(outlines.parts + 1))
        parts = rles([position[a:b] for a, b in pairwise(bounds)], size)
        return outlines.joined(parts, size)

    @property
    def areas(self) -> np.ndarray:
        """(N,) int64 number of pixels."""
        if len(self) == 0:
            return np.zeros(0, np.int64)
        return pycocotools.mask.area(self.to_rles()).astype(np.int64)

    def get_bboxes(self, dst_type: str | type[BaseBoxes] = "hbox") -> BaseBoxes:
        """The bounds of the pixels, all zeros where there are none, as boxes of ``dst_type``."""
        name, box_type = get_box_type(dst_type)
        if name != "hbox":
            return box_type.from_instance_masks(self.to_bitmap())
        if len(self) == 0:
            return box_type(np.zeros((0, 4), np.float32))
        boxes = pycocotools.mask.toBbox(self.to_rles()).astype(np.float32)
        boxes[:, 2:] += boxes[:, :2]
        return box_type(boxes)

    def to_bitmap(self) -> BitmapMasks:
        """mmdet's bitmaps of the pixels."""
        return BitmapMasks(self.to_ndarray(), self.height, self.width)

    def to_ndarray(self) -> np.ndarray:
        """(N, H, W) uint8 pixels, an array of its own."""
        return _decoded(self.to_rles(), (self.height, self.width))

    def to_tensor(self, dtype: torch.dtype, device: torch.device | str) -> Tensor:
        """(N, H, W) pixels."""
        return torch.from_numpy(self.to_ndarray()).to(device, dtype)

    # A sequence -------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.shapes if self._pixels is None else self._pixels)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Pixels (H, W) of one mask after the other."""
        for i in range(len(self)):
            yield self[i].to_ndarray()[0]

    def __getitem__(self, index: Any) -> GeometryMasks:
        """Masks by an integer, a slice, integers or booleans; one mask is a sequence, too."""
        self._settle()
        if isinstance(index, Tensor):
            index = index.cpu().numpy()
        chosen = np.atleast_1d(np.arange(len(self.shapes))[_as_index(index)])
        return self._of(
            [self.shapes[i] for i in chosen],
            self.matrices[chosen],
            [self.windows[i] for i in chosen],
            (self.height, self.width),
        )

    @classmethod
    def cat(cls, masks: Sequence[GeometryMasks]) -> GeometryMasks:
        """Masks of images of one size, joined.

        Raises:
            ValueError: there are none, or their sizes differ.
        """
        sizes = {(own.height, own.width) for own in masks}
        if len(sizes) != 1:
            raise ValueError(f"masks to join must be of one size, not {sorted(sizes)}.")
        for own in masks:
            own._settle()
        return cls._of(
            [shape for own in masks for shape in own.shapes],
            np.concatenate([own.matrices for own in masks]),
            [window for own in masks for window in own.windows],
            sizes.pop(),
        )

    stack = cat  # of masks there is no further dimension

    def __getstate__(self) -> dict:
        self._settle()
        return self.__dict__

    def __deepcopy__(self, memo: dict) -> GeometryMasks:
        """Masks of their own; shapes and windows, which never change, are shared."""
        self._settle()
        size = (self.height, self.width)
        return self._of(list(self.shapes), self.matrices.copy(), list(self.windows), size)

    def state(self) -> dict:
        """All there is to keep, as lists, texts and tensors."""
        self._settle()
        return dict(
            shapes=[shape.state() for shape in self.shapes],
            matrices=torch.from_numpy(self.matrices),
            windows=[w if w is None else torch.from_numpy(w.corners) for w in self.windows],
        )

    @classmethod
    def of_state(cls, state: dict, height: int, width: int) -> GeometryMasks:
        """Masks of :meth:`state`.

        Raises:
            UserError: it is damaged.
        """
        shapes = [shape_of_state(kept) for kept in state["shapes"]]
        matrices = np.asarray(state["matrices"], np.float64)
        windows = [w if w is None else Window(np.asarray(w, np.float64)) for w in state["windows"]]
        shaped = all(w is None or w.corners.shape[1:] == (2,) for w in windows)
        if matrices.shape != (len(shapes), 3, 3) or len(windows) != len(shapes) or not shaped:
            raise UserError("masks that were stored as geometry are damaged.")
        return cls._of(shapes, matrices, windows, (int(height), int(width)))

    @classmethod
    def random(
        cls,
        num_masks: int = 3,
        height: int = 32,
        width: int = 32,
        n_verts: int = 5,
        dtype: type = np.float32,
        rng: Any = None,
    ) -> GeometryMasks:
        """Random polygons, those of PolygonMasks.random."""
        drawn = PolygonMasks.random(num_masks, height, width, n_verts, dtype, rng)
        return cls(drawn.masks, height, width)

    # Moves ------------------------------------------------------------------------------------

    def project(
        self, matrix: np.ndarray, out_shape: tuple[int, int], within: bool = False
    ) -> GeometryMasks:
        """Masks moved by a matrix and cut at the borders of the old image and the new one.

        Args:
            matrix: (3, 3), affine, on continuous coordinates.
            out_shape: (H, W) of the new image.
            within: whether all of the new image lies in the old one.
        """
        self._settle()
        matrix = np.asarray(matrix, np.float64)
        moved: dict[int, Window | None] = {}
        for window in self.windows:
            if id(window) not in moved:
                seen = window
                if not within:
                    frame = window_of(self.height, self.width)
                    seen = frame if window is None else window.cut(self.height, self.width)
                moved[id(window)] = None if seen is None else seen.project(matrix)
        return self._of(
            self.shapes,
            matrix @ self.matrices,
            [moved[id(window)] for window in self.windows],
            (int(out_shape[0]), int(out_shape[1])),
        )

    def crop_and_resize(
        self,
        bboxes: np.ndarray | Tensor,
        out_shape: tuple[int, int],
        inds: np.ndarray | Tensor,
        device: torch.device | str = "cpu",
        interpolation: str = "bilinear",
        binarize: bool = True,
    ) -> BitmapMasks:
        """Pixels of ``out_shape`` in each box, see :func:`.draw_in_boxes`.

        Args:
            bboxes: (R, 4) xyxy.
            out_shape: (h, w).
            inds: (R,) the mask of each box.
            device: of the result, were it a tensor; not used.
            interpolation: of bitmaps; not used.
            binarize: False for the covered share of each pixel.
        """
        drawn = draw_in_boxes(
            [self.outlines()],
            [torch.as_tensor(bboxes).cpu()],
            [torch.as_tensor(inds).cpu().long()],
            (int(out_shape[0]), int(out_shape[1])),
            soft=not binarize,
        )
        pixels = drawn.numpy()
        return BitmapMasks(pixels.astype(bool) if binarize else pixels, *out_shape)


def _decoded(found: Sequence[dict], size: tuple[int, int]) -> np.ndarray:
    pixels = np.zeros((len(found), *size), np.uint8)
    for mask, rle in zip(pixels, found, strict=True):
        mask[:] = pycocotools.mask.decode(rle)
    return pixels


def _as_index(index: Any) -> Any:
    return np.asarray(index, np.int64) if isinstance(index, list | tuple) and not index else index

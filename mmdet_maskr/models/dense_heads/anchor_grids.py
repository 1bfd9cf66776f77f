"""Anchors for feature maps of any size from cached grids, without copies to the device.

mmdet computes all anchors for each batch, and copies the anchors of a cell to the device each time.
But anchors depend only on the cell: the anchors of a map are the upper left part of those of a
larger map.

Symbols: A anchors of a cell, N of all levels.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.task_modules.prior_generators import AnchorGenerator, anchor_inside_flags
from torch import Tensor

from mmdet_maskr.errors import UserError
from mmdet_maskr.models.task_modules.anchor_generator import SizedAnchorGenerator
from mmdet_maskr.ops.late_checks import require
from mmdet_maskr.tracing import is_traced

KEPT = 64  # grids of levels, and combinations of sizes of maps and images


class AnchorGrids:
    """The anchors of a generator.

    Args:
        generator: an anchor generator of mmdet or this package; others compute anchors each time.
    """

    def __init__(self, generator: Any) -> None:
        self._generator = generator
        self._grids: dict[tuple, Tensor] = {}
        self._flags: dict[tuple, Tensor] = {}
        self._last: tuple[tuple, Tensor] | None = None

    def __deepcopy__(self, memo: dict) -> AnchorGrids:
        return AnchorGrids(copy.deepcopy(self._generator, memo))

    def __reduce__(self) -> tuple:
        return AnchorGrids, (self._generator,)

    def anchors(self, sizes: Sequence[tuple[int, int]], like: Tensor) -> list[Tensor]:
        """The anchors of each level, in the type and on the device of ``like``.

        Args:
            sizes: height h and width w of each level's map.
            like: any tensor, of any shape.

        Returns:
            For each level (h * w * A, 4) xyxy in pixels of the padded image, row by row, the A
            anchors of a cell next to each other: (N, 4) once they are joined.
        """
        own = self._generator
        sizes = [(int(h), int(w)) for h, w in sizes]
        strides: Any = own.strides
        if type(own) is SizedAnchorGenerator:
            strides = own.placed_strides(sizes)
        elif type(own) is not AnchorGenerator:
            return own.grid_priors(sizes, dtype=like.dtype, device=like.device)
        if own.use_box_type or is_traced():
            return own.grid_priors(sizes, dtype=like.dtype, device=like.device)
        levels = []
        for level, (stride, (h, w)) in enumerate(zip(strides, sizes, strict=True)):
            key = (level, tuple(stride), like.dtype, like.device)
            grid = self._grids.pop(key, None)
            if grid is None or grid.shape[0] < h or grid.shape[1] < w:
                grid = self._grown(grid, (h, w), level, stride, like)
            self._grids[key] = grid  # the last ones are those used last
            levels.append(grid[:h, :w].reshape(-1, 4))
        while len(self._grids) > KEPT:  # a convention's strides may follow from the maps' sizes
            self._grids.pop(next(iter(self._grids)))
        return levels

    def all_anchors(self, sizes: Sequence[tuple[int, int]], like: Tensor) -> Tensor:
        """:meth:`anchors` of all levels as one (N, 4); the last result is cached."""
        key = (tuple(map(tuple, sizes)), like.dtype, like.device)
        if is_traced():
            return torch.cat(self.anchors(sizes, like))
        if self._last is None or self._last[0] != key:
            with torch.inference_mode(False), torch.no_grad():
                self._last = key, torch.cat(self.anchors(sizes, like))
        return self._last[1]

    def _grown(
        self,
        grid: Tensor | None,
        size: tuple[int, int],
        level: int,
        stride: tuple[int, int],
        like: Tensor,
    ) -> Tensor:
        """(h, w, A, 4) of a level, at least as large as it was."""
        h, w = size
        if grid is not None:
            h, w = max(h, grid.shape[0]), max(w, grid.shape[1])
        with torch.inference_mode(False), torch.no_grad():
            base = self._generator.base_anchors[level].to(like.device).to(like.dtype)
            x = torch.arange(0, w, device=like.device).to(like.dtype) * stride[0]
            y = torch.arange(0, h, device=like.device).to(like.dtype) * stride[1]
            place = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1).repeat(1, 1, 2)
            return place[:, :, None] + base

    def flags(
        self,
        sizes: Sequence[tuple[int, int]],
        anchors: Tensor,
        pad_shape: tuple[int, int],
        img_shape: tuple[int, int],
        border: float,
    ) -> Tensor | None:
        """(N,) bool, whether each anchor lies outside of the image's padding; None for all.

        Args:
            sizes: height and width of each level's map.
            anchors: (N, 4).
            pad_shape: height and width of the image with its own padding.
            img_shape: of the image alone.
            border: pixels that an anchor may extend beyond it; negative for no limit.

        Raises:
            UserError: there are no such anchors.
        """
        own = self._generator
        whole = all(
            math.ceil(pad_shape[0] / stride[1]) >= h and math.ceil(pad_shape[1] / stride[0]) >= w
            for (h, w), stride in zip(sizes, own.strides, strict=True)
        )
        if whole and border < 0:
            return None
        key = (tuple(map(tuple, sizes)), pad_shape, border < 0 or img_shape, border, anchors.device)
        if key not in self._flags:
            while len(self._flags) >= KEPT:
                self._flags.pop(next(iter(self._flags)))
            with torch.inference_mode(False), torch.no_grad():
                valid = torch.cat(own.valid_flags(sizes, pad_shape, anchors.device))
                flags = anchor_inside_flags(anchors, valid, img_shape, border)
            self._flags[key] = flags
        found = self._flags[key]

        def explain() -> None:
            raise UserError(
                f"No anchor lies inside an image of {img_shape} (height, width): use smaller "
                "anchors in rpn_head.anchor_generator, or train_cfg.rpn.allowed_border=-1."
            )

        require(found.any(), explain)
        return found

"""Anchors given by their sizes in pixels, in the order and with the rounding of their source."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from mmdet.models.task_modules.prior_generators import AnchorGenerator
from mmdet.registry import TASK_UTILS
from torch import Tensor

from mmdet_maskr import conventions
from mmdet_maskr.errors import UserError


@TASK_UTILS.register_module()
class SizedAnchorGenerator(AnchorGenerator):
    """Anchors of A = sizes x ratios a cell, each level with sizes of its own.

    Order, rounding and strides are those of :class:`.Detectron2` or :class:`.Torchvision`.

    Args:
        strides: pixels of the image a cell, for each level.
        sizes: for each level the square roots of the anchors' areas, in pixels.
        ratios: height / width, the same on each level.
        convention: 'detectron2' or 'torchvision'.
        center_offset: of the first anchor, in strides (Detectron2's OFFSET).
        use_box_type: give anchors as HorizontalBoxes.
        others: AnchorGenerator's further options, which are refused: sizes are all there is, and
            the convention says where anchors are.

    Raises:
        UserError: another convention; sizes that do not go with the strides; AnchorGenerator's
            ways to give sizes, with the sizes that they would be.
    """

    def __init__(
        self,
        strides: Sequence[int],
        sizes: Sequence[Sequence[float]] | None = None,
        ratios: Sequence[float] = (0.5, 1.0, 2.0),
        convention: str = "detectron2",
        center_offset: float = 0.0,
        use_box_type: bool = False,
        *,
        scales: Sequence[float] | None = None,
        base_sizes: Sequence[float] | None = None,
        scale_major: bool | None = None,
        octave_base_scale: float | None = None,
        scales_per_octave: int | None = None,
        centers: Sequence[tuple[float, float]] | None = None,
    ) -> None:
        self._convention = conventions.find("anchor_generator.convention", convention, "anchors")
        if scales is not None or octave_base_scale is not None or base_sizes is not None:
            if scales is None and octave_base_scale is not None and scales_per_octave:
                steps = range(scales_per_octave)
                scales = [octave_base_scale * 2 ** (step / scales_per_octave) for step in steps]
            bases = strides if base_sizes is None else base_sizes
            found = [[base * scale for scale in scales or (1,)] for base in bases]
            raise UserError(
                f"SizedAnchorGenerator takes sizes in pixels: sizes={found} in place of scales, "
                "octaves and base_sizes."
            )
        if sizes is None:
            raise UserError("SizedAnchorGenerator needs sizes, a list of pixels for each stride.")
        if scale_major is not None or centers is not None:
            raise UserError(
                "SizedAnchorGenerator has no options scale_major and centers: convention and "
                "center_offset set the order and positions of anchors. AnchorGenerator has both "
                "options."
            )
        if len(sizes) != len(strides) or len({len(level) for level in sizes}) != 1:
            raise UserError(
                f"anchor_generator.sizes must be {len(strides)} lists of equal length, one for "
                f"each stride, not {sizes!r}."
            )
        self.sizes = [list(level) for level in sizes]
        self.convention = convention
        super().__init__(
            strides=list(strides),
            ratios=list(ratios),
            scales=[1],
            center_offset=center_offset,
            use_box_type=use_box_type,
        )

    def gen_base_anchors(self) -> list[Tensor]:
        """For each level its anchors (A, 4), xyxy, about the first cell."""
        return [
            self._convention.anchors(sizes, self.ratios) + self.center_offset * base_size
            for sizes, base_size in zip(self.sizes, self.base_sizes, strict=True)
        ]

    def placed_strides(self, featmap_sizes: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """(x, y) pixels between the anchors of each level's cells, for maps of these sizes."""
        return self._convention.anchor_strides(self.strides, featmap_sizes)

    def grid_priors(
        self,
        featmap_sizes: list[tuple[int, int]],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cuda",
    ) -> list[Tensor]:
        """mmdet's, with the convention's strides."""
        placed = copy.copy(self)
        placed.strides = self.placed_strides(featmap_sizes)
        return AnchorGenerator.grid_priors(placed, featmap_sizes, dtype, device)

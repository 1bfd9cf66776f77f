"""COCO run-length encoding of masks, straight from their m x m probabilities.

A dense (N, H, W) stack is neither built nor scanned: runs are read off each mask's crop
(:mod:`mmdet_maskr.run_lengths`), and the byte strings are those of pycocotools.

Symbols: N masks, m x m their size, H x W the image, h x w a crop of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pycocotools.mask
from torch import Tensor

from mmdet_maskr.errors import UserError
from mmdet_maskr.mask_crops import Crop
from mmdet_maskr.ops.mask_paste import Crops, check_masks, for_each_crop
from mmdet_maskr.run_lengths import rles


class RLEMasks(Sequence):
    """The masks of one image as COCO RLEs: a sequence of dicts with ``size`` [H, W] and ``counts``.

    Passes through InstanceData's indexing and CocoMetric untouched. What expects an array (mmdet's
    visualizer and DumpDetResults) gets one from :meth:`numpy` or :meth:`astype`, decoded only then.

    Args:
        rles: the RLEs.
        size: (H, W); known also where there is no mask.
    """

    def __init__(self, rles: Iterable[dict], size: tuple[int, int]) -> None:
        self.rles = list(rles)
        self.size = (int(size[0]), int(size[1]))

    def __len__(self) -> int:
        return len(self.rles)

    def __getitem__(self, item: int | slice) -> Any:
        """An RLE for an integer, RLEMasks for a slice."""
        found = self.rles[item]
        return RLEMasks(found, self.size) if isinstance(item, slice) else found

    def __iter__(self) -> Iterator[dict]:
        return iter(self.rles)

    def __repr__(self) -> str:
        return f"RLEMasks({len(self)} masks of {self.size[0]} x {self.size[1]})"

    @staticmethod
    def cat(parts: Sequence[RLEMasks]) -> RLEMasks:
        """Masks of one image, joined; InstanceData calls it."""
        return RLEMasks((rle for part in parts for rle in part), parts[0].size)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(N, H, W) of the decoded masks."""
        return (len(self), *self.size)

    def cpu(self) -> RLEMasks:
        """The masks themselves, which are on no device; tools call it before :meth:`numpy`."""
        return self

    def numpy(self) -> np.ndarray:
        """(N, H, W) bool, as dense masks are."""
        if not self.rles:
            return np.zeros(self.shape, bool)
        masks = pycocotools.mask.decode(self.rles)
        return np.ascontiguousarray(masks.transpose(2, 0, 1)).view(bool)

    def astype(self, dtype: type) -> np.ndarray:
        """(N, H, W) of another type."""
        return self.numpy().astype(dtype)


def encode_masks(
    masks: Tensor,
    boxes: Tensor,
    height: int,
    width: int,
    threshold: float = 0.5,
    crops: Crops | None = None,
) -> RLEMasks:
    """RLEs of masks pasted into an image, without pasting them.

    Equal to pycocotools' encoding of :func:`mmdet_maskr.ops.mask_paste.paste_masks`. Runs on the
    CPU; masks of a GPU are copied (m x m each) first.

    Args:
        masks: (N, m, m) probabilities.
        boxes: (N, 4) xyxy in pixels of the image.
        height: H.
        width: W.
        threshold: pixels with at least this probability are inside.
        crops: a convention's; None for mmdet's.

    Raises:
        UserError: a negative threshold, a box that is infinite or NaN, or shapes that disagree.
    """
    if threshold < 0:
        raise UserError(
            f"mask_thr_binary={threshold} means gray masks, which an RLE cannot store: "
            "use a threshold from 0 to 1, or mask_output='dense'."
        )
    check_masks(masks, boxes)
    found: list[np.ndarray] = [np.empty(0, np.int64)] * len(masks)

    def read(i: int, crop: Crop) -> None:
        found[i] = crop.changes(height)

    for_each_crop(read, masks, boxes, height, width, threshold, crops, columns=True)
    return RLEMasks(rles(found, (height, width)), (height, width))

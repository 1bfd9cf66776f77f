"""Boxes, masks and keypoints are computed in float32 where a caller runs in mixed precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from mask_cases import HEIGHT, WIDTH, random_boxes, random_masks
from mmdet.structures.mask import BitmapMasks
from torch import Tensor

from mmdet_maskr.ops.keypoint_decode import decode_heatmaps
from mmdet_maskr.ops.mask_paste import paste_masks
from mmdet_maskr.ops.mask_resize import resized_crops
from mmdet_maskr.ops.mask_rle import encode_masks
from mmdet_maskr.ops.mask_targets import mask_targets
from mmdet_maskr.ops.nms import grouped_nms

COUNT = 40
SIZE = (HEIGHT, WIDTH)


def heatmaps() -> Tensor:
    return 5 * torch.randn(COUNT, 3, 14, 14, generator=torch.Generator().manual_seed(0))


def inner_boxes() -> Tensor:
    """(N, 4) with sides of at least a pixel, in the image."""
    boxes = random_boxes(COUNT).clamp(min=0, max=50)
    return torch.cat([boxes[:, :2], boxes[:, 2:] + 5], 1)


def targets() -> Tensor:
    bitmaps = (random_masks(COUNT, HEIGHT) >= 0.5).to(torch.uint8).numpy()
    truth = BitmapMasks(bitmaps, HEIGHT, HEIGHT)
    return mask_targets([inner_boxes()], [torch.arange(COUNT)], [truth], 28, soft=True)


def kept() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    groups = torch.arange(COUNT) % 3
    return grouped_nms(inner_boxes() * 10, torch.rand(COUNT, generator=generator), groups, 0.5)


# As a caller in mixed precision has them: its tensors are float32, or converted to it.
OPERATIONS: dict[str, Callable[[], object]] = {
    "paste": lambda: paste_masks(random_masks(COUNT, 28), random_boxes(COUNT), *SIZE),
    "gray": lambda: paste_masks(random_masks(COUNT, 28), random_boxes(COUNT), *SIZE, -1),
    "resize": lambda: paste_masks(
        random_masks(COUNT, 28), random_boxes(COUNT), *SIZE, crops=resized_crops
    ),
    "encode": lambda: encode_masks(random_masks(COUNT, 28), random_boxes(COUNT), *SIZE).rles,
    "encode resized": lambda: (
        encode_masks(random_masks(COUNT, 28), random_boxes(COUNT), *SIZE, crops=resized_crops).rles
    ),
    "decode": lambda: torch.cat(
        [t.view(COUNT, -1) for t in decode_heatmaps(heatmaps(), inner_boxes() * 4)], 1
    ),
    "targets": targets,
    "nms": kept,
}


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", OPERATIONS)
def test_results_are_those_of_float32(name: str, threads: int):
    """In one thread and in several, of which autocast knows the first only."""
    wanted = OPERATIONS[name]()
    with torch.autocast("cpu", torch.bfloat16):
        found = OPERATIONS[name]()
    assert len(wanted) > 0
    if isinstance(wanted, Tensor):
        assert found.dtype == wanted.dtype and torch.equal(found, wanted)
    else:
        assert found == wanted


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_masks_of_lower_precision(dtype: torch.dtype):
    """Masks that come in another type are pasted as the same numbers in float32."""
    masks, boxes = random_masks(COUNT, 28).to(dtype), random_boxes(COUNT)
    for crops in (None, resized_crops):
        found, wanted = (paste_masks(m, boxes, *SIZE, crops=crops) for m in (masks, masks.float()))
        assert torch.equal(found, wanted)
    assert encode_masks(masks, boxes, *SIZE).rles == encode_masks(masks.float(), boxes, *SIZE).rles

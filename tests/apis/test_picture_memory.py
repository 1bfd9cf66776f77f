"""Drawing a large picture takes a few times its size, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.datasets.transforms import InferencerLoader
from mmdet.structures import DetDataSample
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from pycocotools.mask import encode

from mmdet_maskr.apis.detector import FoundSample
from mmdet_maskr.apis.pictures import Pictures
from mmdet_maskr.inference.walk import Image
from mmdet_maskr.ops.mask_rle import RLEMasks
from mmdet_maskr.visualization import InstanceVisualizer

HEIGHT, WIDTH, COUNT = 2400, 3000, 20
# Painted by matplotlib once more it took over 90 bytes a pixel.
MOST_BYTES_A_PIXEL = 30


def peak() -> int:
    """Bytes of memory that the process has had at most since the last reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def reset_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("needs Linux's own measurement of memory")


@pytest.fixture
def found() -> FoundSample:
    """Discs all over the image."""
    generator = np.random.default_rng(0)
    corners = generator.uniform(0, [WIDTH - 600, HEIGHT - 600], (COUNT, 2))
    boxes = np.concatenate([corners, corners + generator.uniform(200, 600, (COUNT, 2))], 1)
    rles = []
    for x1, y1, x2, y2 in boxes.round().astype(int):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
        mask[y1:y2, x1:x2] = 1
        rles.append(encode(mask))
    instances = InstanceData(
        labels=torch.arange(COUNT) % 3, scores=torch.full((COUNT,), 0.9),
        bboxes=torch.from_numpy(boxes).float(), masks=RLEMasks(rles, (HEIGHT, WIDTH)),
    )  # fmt: skip
    return FoundSample(DetDataSample(pred_instances=instances), 3)


@pytest.mark.parametrize("keep", [False, True])
def test_memory_of_a_large_picture(found: FoundSample, tmp_path: Path, keep: bool):
    init_default_scope("mmdet")
    visualizer = InstanceVisualizer(name=f"memory{keep}")
    visualizer.dataset_meta = dict(classes=("a", "b", "c"), palette="random")
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    sink = Pictures(visualizer, InferencerLoader(), [0.0] * 3, folder=tmp_path, keep=keep)
    small = Image(0, image[:64, :64])
    nothing = FoundSample(DetDataSample(pred_instances=found.sample.pred_instances[:0]), 3)
    sink.add(small, 0, nothing)  # what is loaded once
    reset_peak()
    before = peak()
    for number in (1, 2, 3):
        sink.add(Image(number, image), number, found)
    kept = 3 * (keep and 3)
    assert (peak() - before) / (HEIGHT * WIDTH) < MOST_BYTES_A_PIXEL + kept
    drawn = [path for path in tmp_path.iterdir() if path.stem != "00000000"]
    assert len(drawn) == 3 and len(sink.results) == 4 * keep

"""A small Mask R-CNN and hand-made samples for tests of the RoI head."""

from __future__ import annotations

import copy

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.structures import InstanceData

SIZE = 96


def build(config: Config, **roi_head: object):
    config = copy.deepcopy(config)
    config.roi_head.update(roi_head)
    torch.manual_seed(0)
    model = MODELS.build(config)
    model.init_weights()
    return model


def sample(boxes: list[list[float]], labels: list[int], scale: float = 1.0) -> DetDataSample:
    """An image with boxes filled by their masks; ``scale`` of the network's input to it."""
    masks = torch.zeros(len(boxes), SIZE, SIZE, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[int(y1) : int(y2), int(x1) : int(x2)] = 1
    original = round(SIZE / scale)
    data = DetDataSample(
        metainfo=dict(
            img_shape=(SIZE, SIZE),
            pad_shape=(SIZE, SIZE),
            batch_input_shape=(SIZE, SIZE),
            ori_shape=(original, original),
            scale_factor=(scale, scale),
        )
    )
    data.gt_instances = InstanceData(
        bboxes=torch.tensor(boxes).reshape(-1, 4),
        labels=torch.tensor(labels, dtype=torch.long),
        masks=BitmapMasks(masks.numpy(), SIZE, SIZE),
    )
    data.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0).long())
    return data


def images(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


SAMPLES = [([[8.0, 8, 60, 50], [40, 30, 90, 90]], [1, 4]), ([[20.0, 4, 70, 80]], [0])]

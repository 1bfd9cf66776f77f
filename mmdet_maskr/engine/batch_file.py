"""Training batches as plain tensors and numbers, which load without executing anything."""

from __future__ import annotations

from typing import Any

import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine.structures import InstanceData


def pack_batch(data_batch: dict) -> dict[str, Any]:
    """A batch of the data loader as plain tensors, strings and numbers.

    Args:
        data_batch: ``inputs``, a list of images (3, H, W); ``data_samples``, their ground truth.
    """
    samples = []
    for sample in data_batch["data_samples"]:
        packed: dict[str, Any] = dict(metainfo=_plain(sample.metainfo))
        for field in ("gt_instances", "ignored_instances"):
            if field in sample:
                packed[field] = {key: _plain(value) for key, value in sample.get(field).items()}
        samples.append(packed)
    return dict(inputs=[image.cpu() for image in data_batch["inputs"]], data_samples=samples)


def unpack_batch(packed: dict[str, Any]) -> dict[str, list]:
    """The inverse of :func:`pack_batch`."""
    samples = []
    for content in packed["data_samples"]:
        sample = DetDataSample(metainfo=content["metainfo"])
        for field in ("gt_instances", "ignored_instances"):
            if field in content:
                values = {key: _rich(value) for key, value in content[field].items()}
                setattr(sample, field, InstanceData(**values))
        samples.append(sample)
    return dict(inputs=list(packed["inputs"]), data_samples=samples)


def _plain(value: Any) -> Any:
    if isinstance(value, BitmapMasks):
        return dict(bitmaps=torch.from_numpy(value.masks), size=(value.height, value.width))
    if isinstance(value, PolygonMasks):
        polygons = [[torch.as_tensor(part) for part in parts] for parts in value.masks]
        return dict(polygons=polygons, size=(value.height, value.width))
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item) for item in value)
    if hasattr(value, "tensor"):  # boxes
        return dict(boxes=value.tensor.cpu())
    return value.cpu() if isinstance(value, torch.Tensor) else value


def _rich(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "boxes" in value:
        return HorizontalBoxes(value["boxes"])
    if "bitmaps" in value:
        return BitmapMasks(value["bitmaps"].numpy(), *value["size"])
    polygons = [[part.numpy() for part in parts] for parts in value["polygons"]]
    return PolygonMasks(polygons, *value["size"])

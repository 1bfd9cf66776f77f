"""Training batches as plain tensors and numbers, which load without executing anything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine.structures import InstanceData

from mmdet_maskr.errors import UserError
from mmdet_maskr.structures import GeometryMasks


def is_batch_of_detector(data_batch: Any) -> bool:
    """Whether it is ``inputs``, a list of images, and ``data_samples``, a list of mmdet's.

    A semi-supervised model's is a dictionary of branches, that of a model of another package may be
    anything.
    """
    if not isinstance(data_batch, dict):
        return False
    inputs, samples = data_batch.get("inputs"), data_batch.get("data_samples")
    return (
        isinstance(inputs, list)
        and isinstance(samples, list)
        and all(isinstance(image, torch.Tensor) for image in inputs)
        and all(isinstance(sample, DetDataSample) for sample in samples)
    )


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
    """The inverse of :func:`pack_batch`.

    Raises:
        UserError: it is none.
    """
    inputs, contents = packed.get("inputs"), packed.get("data_samples")
    if not isinstance(inputs, list) or not isinstance(contents, list):
        raise UserError("it has no lists of inputs and data_samples.")
    if len(inputs) != len(contents) or not inputs:
        raise UserError(f"it has {len(inputs)} images and {len(contents)} samples.")
    samples = []
    for number, (image, content) in enumerate(zip(inputs, contents, strict=True)):
        try:
            _check_image(image)
            samples.append(_sample(content))
        except Exception as error:  # of mmdet's classes, of many types
            reason = str(error) if isinstance(error, UserError) else repr(error)[:200]
            raise UserError(f"its sample {number} is damaged: {reason}") from error
    return dict(inputs=inputs, data_samples=samples)


def _check_image(image: Any) -> None:
    if not isinstance(image, torch.Tensor) or image.ndim != 3 or image.shape[0] not in (1, 3):
        raise UserError("its image is not a tensor (3, H, W).")
    check_content(image, "its image")


def check_content(tensor: torch.Tensor, what: str) -> None:
    """Refuse a tensor (H, W), or of any other shape, that is far larger than what is stored of it.

    Raises:
        UserError: it is; a file can have a value repeated as often as it likes.
    """
    size = tensor.numel() * tensor.element_size()
    if tensor.layout != torch.strided or size > 10 * tensor.untyped_storage().nbytes() + (1 << 20):
        raise UserError(f"{what} of the shape {tuple(tensor.shape)} is not in the file.")


def _sample(content: dict) -> DetDataSample:
    sample = DetDataSample(metainfo=content["metainfo"])
    for name in ("gt_instances", "ignored_instances"):
        if name not in content:
            continue
        values = {key: _rich(value) for key, value in content[name].items()}
        instances = InstanceData(**values)
        for key, value in content[name].items():
            for tensor in _tensors(value):
                check_content(tensor, f"{name}.{key}")
        boxes, labels = instances.get("bboxes"), instances.get("labels")
        if boxes is None or boxes.tensor.shape != (len(instances), 4):
            raise UserError(f"its {name} have no boxes (N, 4).")
        if not isinstance(labels, torch.Tensor) or labels.shape != (len(instances),):
            raise UserError(f"its {name} have no labels (N,).")
        setattr(sample, name, instances)
    return sample


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors(item)


def _plain(value: Any) -> Any:
    if isinstance(value, GeometryMasks):
        return dict(geometry=value.state(), size=(value.height, value.width))
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
    if "geometry" in value:
        return GeometryMasks.of_state(value["geometry"], *value["size"])
    if "bitmaps" in value:
        return BitmapMasks(value["bitmaps"].numpy(), *value["size"])
    polygons = [[part.numpy() for part in parts] for parts in value["polygons"]]
    return PolygonMasks(polygons, *value["size"])

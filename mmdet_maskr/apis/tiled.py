"""A detector that runs on tiles of large images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform, Compose, TestTimeAug
from mmdet.structures import DetDataSample
from torch import nn

from mmdet_maskr.apis import model_files, predictions
from mmdet_maskr.apis.detector import FoundSample, Wanted, loader_of
from mmdet_maskr.datasets.transforms import LoadBands
from mmdet_maskr.datasets.unreadable import why_unreadable
from mmdet_maskr.engine.unwrap import predicting_part
from mmdet_maskr.inference.tiles.grid import LEAST_TILE, Tiling, check_tiling
from mmdet_maskr.inference.tiles.model import TiledModel
from mmdet_maskr.inference.tiles.rasters import Pixels, Raster, open_raster
from mmdet_maskr.inference.walk import Image, Unreadable, is_out_of_memory


def tiling_of(tile: object, overlap: object, model: nn.Module, pipeline: Compose) -> Tiling:
    """The tiling for the options ``tile`` and ``overlap``.

    Args:
        tile: side length in pixels of the image, or 'auto' for the largest square that the pipeline
            does not shrink.
        overlap: overlap of neighboring tiles, as a fraction of the side.
        model: a detector.
        pipeline: its test pipeline.

    Raises:
        UserError: as in :func:`.grid.check_tiling`.
    """
    return check_tiling(tile, overlap, _side_of(pipeline.transforms), _stride_of(model))


def tiled(
    wanted: Wanted, tiling: Tiling, batch_size: int = 1, show_progress: bool = False
) -> TiledModel:
    """A detector on tiles, with the options of one call. Masks are RLEs of the whole image.

    Args:
        wanted: the detector on single images.
        tiling: the positions of the tiles.
        batch_size: number of tiles in a batch.
        show_progress: show a bar over the tiles of an image.
    """
    return TiledModel(
        wanted,
        tiling,
        partial(_open, wanted),
        partial(_found, wanted),
        batch_size,
        show_progress,
    )


def _open(wanted: Wanted, image: Image) -> Raster:
    """An image, opened with the pipeline's decoder."""
    loader = loader_of(wanted.detector.pipeline)
    options = loader.from_file
    is_bands = isinstance(options, LoadBands)
    # windows of a file are BGR of 8 bits or bands; what else OpenCV makes of it, it makes of all
    is_color = (
        str(getattr(options, "color_type", "")).startswith("color")
        and getattr(options, "imdecode_backend", None) != "tifffile"
    )
    channels = model_files.input_channels(predicting_part(wanted.detector.model))
    try:
        if not is_bands and not is_color and isinstance(image.content, str):
            return Pixels(loader(image.content)["img"])
        return open_raster(image.content, lambda path: loader(path)["img"], channels, is_color)
    except Exception as error:
        if isinstance(image.content, np.ndarray) or isinstance(error, Unreadable):
            raise
        if is_out_of_memory(error):
            raise
        reason = why_unreadable(image.content)
        if reason is None:
            raise
        raise Unreadable(image.content, reason) from error


def _found(wanted: Wanted, image: Image, raster: Raster, lists: dict[str, Any]) -> FoundSample:
    """What was found on an image, as mmdet's data sample."""
    model = wanted.detector.model
    size = (raster.height, raster.width)
    head = getattr(getattr(predicting_part(model), "roi_head", None), "keypoint_head", None)
    found = predictions.of_lists(lists, size, getattr(head, "num_keypoints", 0))
    path = image.name if isinstance(image.name, str) else None
    meta = dict(img_path=path, ori_shape=size, img_shape=size, scale_factor=(1.0, 1.0))
    sample = DetDataSample(metainfo=meta, pred_instances=found)
    return FoundSample(sample, len(model.dataset_meta["classes"]))


def _side_of(steps: Sequence[BaseTransform]) -> int | None:
    """Shorter side of the images that a pipeline makes; None where it resizes by a factor."""
    for step in steps:
        if isinstance(step, TestTimeAug):
            return _side_of([one for form in step.subroutines for one in form.transforms])
        scale = getattr(step, "scale", None)
        if isinstance(scale, Sequence):
            return int(min(scale))
    return None


def _stride_of(model: nn.Module) -> int:
    """Stride of a detector's coarsest map."""
    generator = getattr(getattr(predicting_part(model), "rpn_head", None), "prior_generator", None)
    strides = getattr(generator, "strides", None) or [(LEAST_TILE, LEAST_TILE)]
    return max(max(stride) for stride in strides)

"""A detector with its test pipeline: built from config and checkpoint, and called on images."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmcv.transforms import Compose, LoadImageFromFile
from mmdet.datasets.transforms import InferencerLoader, LoadPanopticAnnotations
from mmdet.registry import MODELS, TRANSFORMS
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.infer import infer
from mmengine.model.utils import revert_sync_batchnorm
from mmengine.registry import FUNCTIONS, init_default_scope
from mmengine.runner.checkpoint import _load_checkpoint_to_model
from torch import nn

from mmdet_maskr import adjustments
from mmdet_maskr.apis import class_names, model_files, predictions
from mmdet_maskr.config_types import is_a
from mmdet_maskr.datasets import wrappers
from mmdet_maskr.datasets.transforms import LoadBands
from mmdet_maskr.datasets.unreadable import why_unreadable
from mmdet_maskr.deploy.optimization import optimize as fast_form
from mmdet_maskr.engine.config_errors import explain
from mmdet_maskr.engine.config_reading import read_config
from mmdet_maskr.engine.trained_input import check_input
from mmdet_maskr.engine.unwrap import without_wrappers
from mmdet_maskr.errors import UserError
from mmdet_maskr.inference.inputs import is_url
from mmdet_maskr.inference.sinks import Collected
from mmdet_maskr.inference.walk import Image, Unreadable, is_out_of_memory


class Detector(NamedTuple):
    """A model with its config and test pipeline.

    Attributes:
        model: the detector on its device, in evaluation mode; ``dataset_meta`` has the names.
        cfg: the config of the model.
        pipeline: turns a file or an array into the model's input.
        collate: makes a batch of inputs.
        named: config or checkpoint, for messages.
    """

    model: nn.Module
    cfg: Config | ConfigDict
    pipeline: Compose
    collate: Callable[[list], Any]
    named: str


# ------------------------------------------------------------------------------------------- build
@adjustments.own_calls()  # config and weights are read as data
def build_detector(
    model: model_files.Model | Path | None,
    weights: str | Path | None,
    device: str | None,
    scope: str,
    palette: str,
    classes: Sequence[str] | None,
    optimize: bool,
) -> Detector:
    """Build the detector of a :class:`.MaskRInferencer` from its arguments.

    Raises:
        UserError: as in :class:`.MaskRInferencer`.
    """
    found, checkpoint_file = model_files.find_model(model, weights, scope)
    named = found if isinstance(found, str) else checkpoint_file or "the given config"
    device = model_files.check_device(device)
    init_default_scope(scope)
    cfg: Config | ConfigDict | None = None
    try:
        cfg, checkpoint_file = _config_of(found, checkpoint_file, scope)
        checkpoint = None
        if checkpoint_file is not None:
            # by the name under which tests of DetInferencer replace it
            checkpoint = infer._load_checkpoint(
                checkpoint_file, map_location="cpu", logger="silent"
            )
        if cfg is None:
            cfg = _config_in(checkpoint, checkpoint_file)
        detector = _built(cfg)
        if checkpoint is not None:
            check_input(cfg.model, checkpoint, f"checkpoint {checkpoint_file}")
        _load(detector, checkpoint, checkpoint_file, named)
        detector.dataset_meta = class_names.names_of(
            detector, cfg, checkpoint, checkpoint_file, named, palette, classes
        )
        detector = revert_sync_batchnorm(detector.to(device).eval())
        pipeline = pipeline_of(cfg)
        model_files.check_augmentation(detector, pipeline)
        collate = collate_of(cfg)
        if optimize:
            detector = fast_form(detector, inplace=True)
    except (UserError, MemoryError):
        raise
    except Exception as error:  # what a config or a checkpoint may ask for has no end
        reason = explain(error, cfg if isinstance(cfg, Config) else None)
        if reason is None:
            lines = str(error).splitlines() or [""]
            reason = f"{type(error).__name__}: {lines[0][:200]}"
        raise UserError(
            f"cannot build a detector from {named}: {reason} (MMDET_MASKR_TRACEBACK=1 shows where)."
        ) from error
    return Detector(detector, cfg, pipeline, collate, named)


def _config_of(
    model: model_files.Model | None, weights: str | None, scope: str
) -> tuple[Config | ConfigDict | None, str | None]:
    """The config, and the weights; no config where the checkpoint has it."""
    if model is None:
        return None, weights
    if not isinstance(model, str):
        return copy.deepcopy(model if isinstance(model, Config) else ConfigDict(model)), weights
    if Path(model).is_file():
        return read_config(model), weights
    return model_files.published(model, weights, scope)


def _config_in(checkpoint: Any, weights: str | None) -> Config | ConfigDict:
    """The config that a training wrote into its checkpoint."""
    texts = []
    for path in (("message_hub", "runtime_info", "cfg"), ("meta", "cfg")):
        value = checkpoint
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        texts += [value] if value else []
    if not texts:
        raise UserError(
            f"checkpoint {weights} contains no config: pass the config that it was trained "
            "with, MaskRInferencer('config.py', weights)."
        )
    try:
        return Config.fromstring(texts[0], file_format=".py")
    except UserError as error:
        if str(weights) in str(error):
            raise
        raise UserError(f"checkpoint {weights}: {error}") from error


def _built(cfg: Config | ConfigDict) -> nn.Module:
    cfg.model.pop("pretrained", None)  # weights of the backbone, which the checkpoint's replace
    model = MODELS.build(cfg.model)
    model.cfg = cfg
    return model


def _load(model: nn.Module, checkpoint: Any, weights: str | None, named: str) -> None:
    inner = without_wrappers(model)
    model_files.check_weights(inner, checkpoint, weights, named)
    if checkpoint is not None:
        _load_checkpoint_to_model(inner, checkpoint)


def pipeline_of(cfg: Config | ConfigDict) -> Compose:
    """The test pipeline of a config; for wrapped datasets, that of the inner datasets.

    It is changed to take files and arrays, which have no image id.

    Raises:
        UserError: the test dataset has no pipeline or several different pipelines, or the pipeline
            does not load an image.
    """
    steps = copy.deepcopy(wrappers.the_pipeline(cfg.test_dataloader.dataset, "an inferencer"))
    # there are no annotations, and this step needs a package of its own
    panoptic = ("LoadPanopticAnnotations", LoadPanopticAnnotations)
    steps = [step for step in steps if step["type"] not in panoptic]
    last = steps[-1]
    if "meta_keys" in last:
        last["meta_keys"] = tuple(key for key in last["meta_keys"] if key != "img_id")
    loaders = ("LoadImageFromFile", LoadImageFromFile)
    loader = next(
        (
            step
            for step in steps
            if step["type"] in loaders or is_a(step["type"], LoadBands, TRANSFORMS)
        ),
        None,
    )
    if loader is None:
        raise UserError(
            f"the test pipeline must begin with LoadImageFromFile, not {steps[0]['type']}: "
            "an inferencer replaces it to read files and arrays."
        )
    bands = is_a(loader["type"], LoadBands, TRANSFORMS)
    loader["type"] = "mmdet.InferencerBandsLoader" if bands else "mmdet.InferencerLoader"
    return Compose(steps)


def collate_of(cfg: Config | ConfigDict) -> Callable[[list], Any]:
    """The collate function of the config, from mmengine's registry."""
    collate_fn = cfg.test_dataloader.get("collate_fn", "pseudo_collate")
    args = dict(collate_fn) if isinstance(collate_fn, dict) else dict(type=collate_fn)
    function = args.pop("type")
    return partial(FUNCTIONS.get(function) if isinstance(function, str) else function, **args)


def loader_of(pipeline: Compose) -> InferencerLoader:
    """The transform of a pipeline that loads images."""
    return next(step for step in pipeline.transforms if isinstance(step, InferencerLoader))


def is_as_stored(loader: InferencerLoader) -> bool:
    """Whether images that this step reads have the bits of their files."""
    return getattr(loader.from_file, "color_type", "color") == "unchanged"


# ------------------------------------------------------------------------------------------ detect
class FoundSample:
    """The detections of an image.

    Attributes:
        sample: mmdet's data sample, with ``pred_instances`` or the maps of a panoptic model.
    """

    def __init__(self, sample: DetDataSample, classes: int) -> None:
        self.sample = sample
        self._classes = classes

    @cached_property
    def lists(self) -> dict[str, Any]:
        """See :func:`.predictions.as_lists`."""
        return predictions.as_lists(self.sample, self._classes)

    @property
    def ids(self) -> torch.Tensor | None:
        """(D,) of a tracked video, -1 for detections without one; None otherwise."""
        if "track_ids" not in self.lists:
            return None
        return torch.tensor([-1 if name is None else name for name in self.lists["track_ids"]])


class Samples(Collected):
    """Collects mmdet's data samples instead of lists."""

    def add(self, image: Image, number: int, found: Any) -> None:
        self.results.append(found.sample)


class Wanted(NamedTuple):
    """A detector with the options of one call.

    Args:
        detector: the detector.
        least: score threshold of each class.
        outputs: which of boxes, masks and keypoints to keep.
    """

    detector: Detector
    least: Sequence[float]
    outputs: Sequence[str]

    def prepare(self, image: Image) -> tuple[Image, Any]:
        """Load an image and run the pipeline on it."""
        try:
            return image, self.detector.pipeline(image.content)
        except Exception as error:
            if isinstance(image.content, np.ndarray) or is_out_of_memory(error):
                raise
            reason = why_unreadable(image.content)
            if reason is None:  # the pipeline's own mistake
                raise
            raise Unreadable(image.content, reason) from error

    @torch.no_grad()
    def detect(self, prepared: list[tuple[Image, Any]]) -> list[FoundSample]:
        """Detect on a batch of images, and keep the wanted outputs."""
        model = self.detector.model
        samples = model.test_step(self.detector.collate([data for _, data in prepared]))
        for (image, _), sample in zip(prepared, samples, strict=True):
            if is_url(image.name):
                sample.set_metainfo(dict(img_path=image.name))
            if "pred_instances" in sample:
                chosen = predictions.above(sample.pred_instances, self.least)
                sample.pred_instances = predictions.only(chosen, self.outputs)
        return [FoundSample(sample, len(model.dataset_meta["classes"])) for sample in samples]

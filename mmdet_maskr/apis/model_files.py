"""Finds the config, weights and device of an inferencer."""

from __future__ import annotations

import difflib
import os
import warnings
from pathlib import Path
from typing import TypeAlias

import torch
import yaml
from mmcv.ops import get_compiling_cuda_version
from mmcv.transforms import Compose, TestTimeAug
from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.infer import BaseInferencer
from mmengine.model import BaseTTAModel
from torch import nn

from mmdet_maskr import mmcv_extension
from mmdet_maskr.catalogue import configs_dir
from mmdet_maskr.cli.spelling import call
from mmdet_maskr.engine.load_hooks import check_whole
from mmdet_maskr.engine.unwrap import predicting_part
from mmdet_maskr.errors import UserError, no_file
from mmdet_maskr.folders import as_path
from mmdet_maskr.models import InstanceTTAModel
from mmdet_maskr.zoo import catalogue
from mmdet_maskr.zoo.resolve import is_reference, resolve

CONFIG_SUFFIXES = (".py", ".json", ".yaml", ".yml")
WEIGHTS_SUFFIXES = (".pth", ".pt", ".safetensors")
CONFIG = "config.py"
WEIGHTS = ("model.safetensors", "model.pth")  # of maskr publish and maskr convert-weights

Model: TypeAlias = str | Config | ConfigDict | dict


def find_model(
    model: Model | Path | None, checkpoint: str | Path | None, scope: str = "mmdet"
) -> tuple[Model | None, str | None]:
    """Find config and weights from the arguments of DetInferencer.

    Args:
        model: path of a config; folder that ``maskr convert-weights`` wrote; name of a config of
            this package (see ``maskr zoo``; '_' may stand for '/') or in the model index of
            ``scope``; a config; or the path of a checkpoint.
        checkpoint: path or URL of a checkpoint; name or folder of a pretrained model; None if
            ``model`` already names the weights.
        scope: package with a model index.

    Raises:
        UserError: the file or name does not exist, or a config name of this package is given
            without weights.
    """
    checkpoint = _as_reference(checkpoint)
    if is_reference(model) or is_reference(checkpoint):
        return _referenced(model, checkpoint, scope)
    if not isinstance(model, Config | dict | None):
        model = str(as_path(model, "model"))
    weights: str | None = None
    if checkpoint is not None:
        is_url = isinstance(checkpoint, str) and "://" in checkpoint
        weights = str(checkpoint if is_url else as_path(checkpoint, "weights"))
    if isinstance(model, str) and model.endswith(WEIGHTS_SUFFIXES):
        if weights is not None:
            raise UserError(
                f"model={model!r} and weights={weights!r} are both checkpoints: model must be a "
                "config or a name."
            )
        model, weights = None, model
    if model is None and weights is not None and Path(weights).is_dir():
        model, weights = weights, None
    if weights is not None and "://" not in weights and not Path(weights).is_file():
        raise no_file("checkpoint", Path(weights).absolute())
    if model is None:
        if weights is None:
            raise UserError("pass a config as model, or a checkpoint as weights.")
        sibling = Path(weights).with_name(CONFIG)
        return (str(sibling) if "://" not in weights and sibling.is_file() else None), weights
    if not isinstance(model, str):
        return model, weights
    if Path(model).is_dir():
        model = _config_in(Path(model))
    elif model.endswith(CONFIG_SUFFIXES) or Path(model).is_file():
        if not Path(model).is_file():
            raise no_file("config", Path(model).absolute())
    else:
        name, model = model, _by_name(model, scope)
        if is_reference(model):
            return _referenced(model, weights, scope)
        if weights is None and model != name:
            raise UserError(_without_weights(name, model))
    if weights is None and Path(model).name == CONFIG:
        beside_it = (Path(model).with_name(name) for name in WEIGHTS)
        weights = next((str(path) for path in beside_it if path.is_file()), None)
    return model, weights


def _as_reference(checkpoint: str | Path | None) -> str | Path | None:
    """A pretrained model's name with ``pretrained://`` before it; anything else as it is."""
    if not isinstance(checkpoint, str) or "://" in checkpoint or os.path.isfile(checkpoint):
        return checkpoint
    known = catalogue.get(checkpoint)
    return checkpoint if known is None else f"{catalogue.SCHEME}{known.name}"


def _referenced(
    model: Model | Path | None, checkpoint: str | Path | None, scope: str
) -> tuple[Model | None, str | None]:
    """Config and weights where one of both is named by ``pretrained://`` or ``hf://``."""
    weights = checkpoint
    if is_reference(checkpoint):
        local = resolve(str(checkpoint))
        weights = local.weights
        model = local.config if model is None else model
    if is_reference(model):
        local = resolve(str(model))
        model = local.config
        weights = local.weights if weights is None else weights
    return find_model(model, weights, scope)


def check_device(device: str | None) -> str:
    """The device to run on.

    Args:
        device: a torch device name, or None for :func:`default_device`.

    Raises:
        UserError: the name is not a device, or this machine does not have it.
    """
    if device is None:
        return default_device()
    try:
        kind = torch.device(device)
    except (RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"device={device!r}: it must be like 'cpu', 'cuda' or 'cuda:1'.") from error
    if kind.type == "cuda":
        count = torch.cuda.device_count()
        if (kind.index or 0) >= count:
            raise UserError(
                f"device={device!r}: torch sees {count} CUDA devices here. Leave device out to "
                "use the best one; `python -m mmdet_maskr` lists them."
            )
    return str(device)


def default_device() -> str:
    """The device that mmengine chooses, or the CPU if mmcv's ops do not support it."""
    device = get_device()
    if not mmcv_extension.is_compiled():  # the ops in Python run anywhere
        return device
    without_ops = device == "cuda" and get_compiling_cuda_version() == "not available"
    return "cpu" if without_ops or device == "mps" else device


def check_weights(
    model: nn.Module, checkpoint: dict | None, weights: str | None, named: str
) -> None:
    """Check that a checkpoint has all weights of a model; warn if there is no checkpoint.

    Args:
        model: with random weights.
        checkpoint: as it was read, or None.
        weights: its path.
        named: the model, for messages.

    Raises:
        UserError: the checkpoint does not fit, see :func:`.check_whole`.
    """
    if checkpoint is None:
        warnings.warn(
            f"no weights: the model of {named} has random weights, so its detections mean "
            "nothing. Pass weights='epoch_12.pth', a file or URL.",
            stacklevel=2,
        )
        return
    config = "" if named == weights else f" for {named}"
    check_whole(model, checkpoint, f"checkpoint {weights}{config}")


def check_augmentation(model: nn.Module, pipeline: Compose) -> None:
    """Check that tta_model and tta_pipeline are set together.

    Raises:
        UserError: only one of them is set, or tta_model loses masks or keypoints.
    """
    augments = any(isinstance(step, TestTimeAug) for step in pipeline.transforms)
    if augments != isinstance(model, BaseTTAModel):
        has, lacks = (
            ("the test pipeline has TestTimeAug", f"the model is a {type(model).__name__}")
            if augments
            else (f"the model is a {type(model).__name__}", "the test pipeline has no TestTimeAug")
        )
        raise UserError(
            f"{has}, but {lacks}: set both tta_model and tta_pipeline in the config, or "
            "neither; mmdet_maskr.engine.tta_config.enable_tta(cfg) sets both."
        )
    if augments and not isinstance(model, InstanceTTAModel):
        detector = predicting_part(model)
        keypoints = getattr(getattr(detector, "roi_head", None), "with_keypoint", False)
        if getattr(detector, "with_mask", False) or keypoints:
            raise UserError(
                f"{type(model).__name__} merges only boxes, but the model has masks or "
                "keypoints: set model.type='InstanceTTAModel'."
            )


def _config_in(folder: Path) -> str:
    config = folder / CONFIG
    if not config.is_file():
        raise UserError(
            f"the folder {folder} has no {CONFIG}: only folders written by maskr publish or "
            "maskr convert-weights can be passed alone. Pass a config and a checkpoint."
        )
    return str(config)


def _without_weights(name: str, config: str) -> str:
    """Says that a config of ours has no checkpoint of ours, and which others there are."""
    stem = Path(config).relative_to(configs_dir()).with_suffix("").as_posix()
    others = [model.name for model in catalogue.models() if stem in model.configs]
    hint = (
        f"take what others publish for this model: MaskRInferencer.from_pretrained({others[0]!r})"
        if others
        else f"take another model: {call('zoo --pretrained')}"
    )
    return (
        f"no weights of ours are published for {name} yet: pass weights=, a checkpoint that you "
        f"have trained, or {hint}."
    )


def _by_name(name: str, scope: str) -> str:
    """The config of this name in this package, a reference, or the name if ``scope`` knows it."""
    own = {model["Name"]: model["Config"] for model in _own_models()}
    paths = {path.removeprefix("configs/").removesuffix(".py"): path for path in own.values()}
    if name in own or name in paths:
        return str(configs_dir().parent / (own.get(name) or paths[name]))
    published_by_others = catalogue.get(name)
    if published_by_others is not None and published_by_others.source != scope:
        return f"{catalogue.SCHEME}{published_by_others.name}"
    try:
        index = BaseInferencer._get_models_from_metafile(BaseInferencer._get_repo_or_mim_dir(scope))
    except Exception as error:  # a package without an index ends in errors of many types
        raise UserError(
            f"there is no file {name}, and scope={scope!r} is not a package with an index of "
            "models."
        ) from error
    others = [name for model in index for name in _names_of(model)]
    if name.lower() in map(str.lower, others):
        return name
    others += [model.name for model in catalogue.models()]
    close = difflib.get_close_matches(name, [*own, *paths, *others], n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else f"{call('zoo')} lists ours."
    raise UserError(
        f"there is no file {name}, and no model of this name in mmdet_maskr or {scope}: {hint}"
    )


def published(name: str, weights: str | None, scope: str) -> tuple[Config, str | None]:
    """Config and weights of a model in the index of ``scope``; passed weights take precedence.

    Raises:
        UserError: the index does not have the model.
    """
    folder = BaseInferencer._get_repo_or_mim_dir(scope)
    for model in BaseInferencer._get_models_from_metafile(folder):
        if name.lower() in map(str.lower, _names_of(model)):
            own = model["Weights"]
            own = own[0] if isinstance(own, list) else own
            return Config.fromfile(str(Path(folder) / model["Config"])), weights or own
    raise UserError(f"there is no model {name} in the index of {scope}.")


def _names_of(model: dict) -> list[str]:
    """The names of an entry of a model index."""
    aliases = model.get("Alias") or []
    return [str(model["Name"]), *([aliases] if isinstance(aliases, str) else aliases)]


def _own_models() -> list[dict]:
    """The models of the packaged index, which is meant for mim."""
    root = configs_dir().parent
    index = yaml.safe_load((root / "model-index.yml").read_text(encoding="utf-8"))
    return [
        model
        for path in index["Import"]
        for model in yaml.safe_load((root / path).read_text(encoding="utf-8"))["Models"]
    ]


def input_channels(model: nn.Module) -> int:
    """The number of channels of a model's images, from its means or its first convolution."""
    model = getattr(model, "module", model)
    mean = getattr(getattr(model, "data_preprocessor", None), "mean", None)
    if mean is not None:
        return int(mean.numel())
    backbone = getattr(model, "backbone", None)
    layers = () if backbone is None else backbone.modules()
    first = next((layer for layer in layers if isinstance(layer, nn.Conv2d)), None)
    return 3 if first is None else int(first.in_channels)

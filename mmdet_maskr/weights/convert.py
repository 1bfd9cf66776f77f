"""Conversion of a checkpoint: a config generated from the source, and its weights, strictly."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from mmdet_maskr.errors import UserError
from mmdet_maskr.weights.detectron2 import Detectron2Model
from mmdet_maskr.weights.detectron2_options import check_options, read_options
from mmdet_maskr.weights.openmmlab import MMDetModel
from mmdet_maskr.weights.output import (
    C4_BASE,
    FPN_BASE,
    JOINT_BASE,
    KEYPOINT_BASE,
    KEYPOINT_MASK_BASE,
    PANOPTIC_BASE,
    Conversion,
    base_settings,
    build,
    with_pipelines,
)
from mmdet_maskr.weights.rename import NameMap, rename
from mmdet_maskr.weights.sources import foreign_state_dict, load_file
from mmdet_maskr.weights.torchvision import UNUSED_COCO_IDS, ZERO_EPS_FILES, TorchvisionModel

# One tensor that every model of a codebase has, and no other's.
SIGNATURES = dict(
    detectron2=r"proposal_generator\.rpn_head\..*",
    torchvision=r"rpn\.head\..*",
    mmdet=r"rpn_head\.rpn_(conv|cls)\..*",
)
COCO_CLASSES = 80


class SourceModel(Protocol):
    """What the source modules tell about a model."""

    def model(self, base: dict) -> dict:
        """``model`` of the config; ``base``, that of the base config, has what the source lacks."""
        ...

    def pipelines(self) -> Mapping[str, list[dict]]:
        """Pipelines of the config by their name."""
        ...

    def name_map(self) -> NameMap:
        """Where each tensor of the source goes."""
        ...


def from_detectron2(
    checkpoint: str | Path,
    config: str | Path | Mapping[str, Any],
    classes: Sequence[str] | None = None,
) -> Conversion:
    """Convert a checkpoint of Detectron2.

    Args:
        checkpoint: ``.pkl``, ``.pth`` or ``.safetensors``.
        config: its YAML: a full dump, or one of the model zoo with its base files on the disk; or
            options by dotted name, those that differ from Detectron2's defaults.
        classes: their names, which a checkpoint does not have; None for COCO's, or numbers.

    Raises:
        UserError: files that cannot be read, options that are not supported, or weights that do
            not fit.
    """
    named = f"the options of {Path(checkpoint).name}"
    if not isinstance(config, Mapping):
        named = Path(config).name
    with _explained(f"Detectron2's {named}"):
        if isinstance(config, Mapping):
            options = check_options(dict(config), named)
        else:
            options = read_options(config)
        source = Detectron2Model(options)
    state = _load(checkpoint, "detectron2")
    return _convert(
        source,
        state,
        base_for(source),
        f"Detectron2's {Path(checkpoint).name} and {named}",
        classes or source.class_names(),
        list(range(source.num_classes)),
        source.num_classes,
    )


def from_torchvision(
    checkpoint: str | Path, keep_unused: bool = False, norm_eps: float | None = None
) -> Conversion:
    """Convert a state dict of torchvision.

    Args:
        checkpoint: ``.pth``.
        keep_unused: keep the ids that COCO does not use as classes, so that there are 90.
        norm_eps: epsilon of the backbone's normalization, which a state dict does not hold. None
            for torchvision's default: 0 for its COCO_V1 weights of Mask and Keypoint R-CNN, known
            by the names of their files, else 1e-5.

    Raises:
        UserError: a file that cannot be read, or no such model.
    """
    state = _load(checkpoint, "torchvision")
    if norm_eps is None:
        norm_eps = 0.0 if re.fullmatch(ZERO_EPS_FILES, Path(checkpoint).name) else 1e-5
    source = TorchvisionModel(state, keep_unused, norm_eps)
    conversion = _convert(
        source,
        state,
        base_for(source),
        f"torchvision's {Path(checkpoint).name}",
        source.class_names(),
        source.labels,
        0,
    )
    conversion.notes.append(f"epsilon of the backbone's normalization: {norm_eps}")
    if source.unused:
        conversion.notes.append(
            f"COCO's 80 classes; the {len(UNUSED_COCO_IDS)} ids that it does not use keep their "
            "share of the softmax only (--unused-classes keep makes them classes)"
        )
    return conversion


def from_mmdet(
    checkpoint: str | Path, config: str | Path, classes: Sequence[str] | None = None
) -> Conversion:
    """Convert a checkpoint of mmdet 2.x or 3.x.

    Args:
        checkpoint: ``.pth``.
        config: its config, Python code that is run.
        classes: their names; None for the checkpoint's.

    Raises:
        UserError: files that cannot be read, another detector, or weights that do not fit.
    """
    loaded = load_file(checkpoint)
    state = _load(checkpoint, "mmdet", loaded)
    source = MMDetModel(config, loaded.get("meta") or {})
    return _convert(
        source,
        state,
        source.base,
        f"mmdet's {Path(checkpoint).name} and {Path(config).name}",
        classes or source.class_names(),
        list(range(source.num_classes)),
        source.num_classes,
    )


def base_for(source: Detectron2Model | TorchvisionModel) -> tuple[str, ...]:
    """The config with the branches of a model, and the dataset that has them."""
    if isinstance(source, Detectron2Model) and (source.c4 or source.panoptic):
        return PANOPTIC_BASE if source.panoptic else C4_BASE
    if not source.with_keypoints:
        return FPN_BASE
    if source.num_classes == COCO_CLASSES:
        return JOINT_BASE
    return KEYPOINT_MASK_BASE if source.with_mask else KEYPOINT_BASE


def _load(checkpoint: str | Path, origin: str, loaded: dict | None = None) -> dict[str, Tensor]:
    """The state dict of a file, checked to be of the codebase that was named."""
    state = foreign_state_dict(load_file(checkpoint) if loaded is None else loaded, checkpoint)
    found = [name for name, sign in SIGNATURES.items() if any(re.fullmatch(sign, n) for n in state)]
    if origin not in found:
        hint = f": its names are those of {found[0]} (--from {found[0]})" if found else ""
        raise UserError(f"checkpoint {checkpoint} is not a two-stage detector of {origin}{hint}.")
    return state


def _convert(
    source: SourceModel,
    state: Mapping[str, Tensor],
    base: tuple[str, ...],
    name: str,
    classes: Sequence[str] | None,
    source_labels: list[int],
    source_background: int,
) -> Conversion:
    settings: dict[str, Any] = base_settings(base)
    with _explained(name):
        settings["model"] = source.model(settings["model"])
        pipelines = source.pipelines()
    settings = with_pipelines(settings, pipelines, classes)
    roi_head = settings["model"]["roi_head"]
    if roi_head.get("mask_head") is None and roi_head.get("keypoint_head") is None:
        for split in ("val", "test"):
            settings[f"{split}_evaluator"]["metric"] = ["bbox"]
    with _explained(name):
        target = build(settings["model"]).state_dict()
    shapes = {key: value.shape for key, value in target.items()}
    renamed = rename(state, shapes, source.name_map())
    return Conversion(
        base, settings, renamed.state, renamed.dropped, name, source_labels, source_background
    )


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Report any error in the options of a source as theirs."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        raise UserError(
            f"{name}: cannot build a model from these options ({type(error).__name__}: {reason})."
        ) from error


CONVERTERS: dict[str, Callable[..., Conversion]] = dict(
    detectron2=from_detectron2, torchvision=from_torchvision, mmdet=from_mmdet
)

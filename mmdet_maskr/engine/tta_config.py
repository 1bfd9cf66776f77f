"""``maskr test --tta``: the config's model and test pipeline with test-time augmentation."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from mmdet.datasets.transforms import PackDetInputs
from mmdet.registry import TRANSFORMS
from mmengine.config import Config, ConfigDict

from mmdet_maskr.config_types import is_a, name_of
from mmdet_maskr.datasets import wrappers
from mmdet_maskr.errors import UserError

META_KEYS = ("flip", "flip_direction", "keypoint_flip_indices")


def enable_tta(cfg: Config, scales: Sequence[float] = (1.0,)) -> None:
    """Wrap the model and the test pipeline of a config, in place.

    ``tta_model`` and ``tta_pipeline`` of the config are taken where they are there. The defaults
    are InstanceTTAModel, and the test pipeline with each image also flipped, at each of ``scales``.

    Args:
        cfg: the config.
        scales: factors of the test pipeline's image size.

    Raises:
        UserError: a pipeline in which sizes have no place, or scales that would be ignored.
    """
    if "tta_pipeline" in cfg and tuple(scales) != (1.0,):
        raise UserError("--tta-scales would have no effect: the config has its own tta_pipeline.")
    wrappers.change_pipelines(
        cfg.test_dataloader.dataset,
        lambda pipeline: cfg.get("tta_pipeline") or augmented_pipeline(pipeline, scales),
    )
    cfg.model = ConfigDict(
        **cfg.get("tta_model", dict(type="mmdet.InstanceTTAModel")), module=cfg.model
    )


def augmented_pipeline(pipeline: Sequence[dict], scales: Sequence[float]) -> list[dict]:
    """A test pipeline whose images come in every size, flipped and not.

    Flips follow the resize, so annotations that are loaded after it (for pictures) are those of the
    original image.

    Args:
        pipeline: loading, one transform with ``scale`` or ``scale_factor``, others, packing.
        scales: factors of that size.

    Raises:
        UserError: no such transform, no packing, or a scale that is not positive.
    """
    if not scales or min(scales) <= 0:
        raise UserError(f"scales of test-time augmentation must be positive, not {list(scales)}.")
    resizes = [i for i, step in enumerate(pipeline) if {"scale", "scale_factor"} & step.keys()]
    if len(resizes) != 1 or not _packs(pipeline[-1]["type"]):
        raise UserError(
            "--tta needs a test pipeline with one resize (a transform with 'scale' or "
            "'scale_factor') that ends with packing; this one has "
            f"{[name_of(step['type'], TRANSFORMS) for step in pipeline]}. Set tta_pipeline "
            "in the config."
        )
    resize = resizes[0]
    packing = copy.deepcopy(pipeline[-1])
    if "meta_keys" in packing:
        packing["meta_keys"] = (*packing["meta_keys"], *META_KEYS)
    forms = [
        [_resized(pipeline[resize], factor) for factor in scales],
        [dict(type="mmdet.RandomFlip", prob=prob) for prob in (0.0, 1.0)],
        *([copy.deepcopy(step)] for step in pipeline[resize + 1 : -1]),
        [packing],
    ]
    return [*copy.deepcopy(list(pipeline[:resize])), dict(type="TestTimeAug", transforms=forms)]


def _packs(kind: object) -> bool:
    named = name_of(kind, TRANSFORMS).rpartition(".")[2].startswith("Pack")
    return named or is_a(kind, PackDetInputs, TRANSFORMS)


def _resized(step: dict, factor: float) -> dict:
    step = copy.deepcopy(step)
    if "scale" in step:
        step["scale"] = tuple(round(side * factor) for side in step["scale"])
    else:
        step["scale_factor"] = step["scale_factor"] * factor
    return step

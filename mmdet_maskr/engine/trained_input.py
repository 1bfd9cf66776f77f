"""What pixels weights were trained on, and whether a config gives the model the same.

Detectron2's ResNets take BGR of mean 103.53, 116.28, 123.675 that is not divided, and have their
strides in the 1x1 convolutions; mmdet's ``pytorch`` ones take normalized RGB and stride in the 3x3.
The shapes of all weights agree, so that nothing else tells that a model of the one kind has weights
of the other: it trains, and detects, worse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmdet_maskr.errors import UserError

KEY = "input"  # of a checkpoint's ``meta``
WITHOUT_BOTTLENECKS = (18, 34)  # depths whose style changes nothing
_CLOSE = 0.01  # of the deviation: statistics that differ by less are the same


def input_of(model: Mapping[str, Any]) -> dict[str, Any]:
    """What a detector is given, and where its strides are.

    Args:
        model: ``model`` of a config.

    Returns:
        ``order``, 'RGB' or 'BGR'; ``mean`` and ``std`` of pixels from 0 to 255 in this order;
        ``style`` of a ResNet with bottlenecks, 'pytorch' or 'caffe'. What the config does not
        have, or images of other than three bands do not, is left out.
    """
    found: dict[str, Any] = {}
    while "module" in model:  # what augments a test has the detector in it
        model = model["module"]
    pixels = model.get("data_preprocessor") or {}
    mean, std = pixels.get("mean"), pixels.get("std")
    if mean is not None and std is not None and len(mean) == len(std) == 3:
        scale = 255.0 if _is(pixels, "UnitRangePreprocessor") else 1.0
        swapped = pixels.get("bgr_to_rgb") or pixels.get("rgb_to_bgr")
        found["order"] = "RGB" if swapped else "BGR"  # images are loaded as BGR
        found["mean"] = [round(float(value) * scale, 3) for value in mean]
        found["std"] = [round(float(value) * scale, 3) for value in std]
    backbone = model.get("backbone") or {}
    named = "style" in backbone or _is(backbone, "ResNet", "ResNeXt")
    if named and backbone.get("depth") not in WITHOUT_BOTTLENECKS:
        found["style"] = backbone.get("style", "pytorch")
    return found


def _is(part: Mapping[str, Any], *names: str) -> bool:
    kind = part.get("type")
    return str(getattr(kind, "__name__", kind)).rpartition(".")[2] in names


def check_input(model: Mapping[str, Any], checkpoint: Mapping[str, Any], what: str) -> None:
    """Compare what a config's model is given with what a checkpoint says of its training.

    Converted, published and pretrained weights say it; others pass.

    Args:
        model: ``model`` of the config.
        checkpoint: as it was read.
        what: the checkpoint, for messages.

    Raises:
        UserError: they differ; with both values, and the lines that set the right ones.
    """
    meta = checkpoint.get("meta") if isinstance(checkpoint, Mapping) else None
    trained = meta.get(KEY) if isinstance(meta, Mapping) else None
    if not isinstance(trained, Mapping):
        return
    given = input_of(model)
    wrong, cures = [], []
    pixels = ("order", "mean", "std")
    if all(name in trained and name in given for name in pixels) and not _same(trained, given):
        wrong.append(f"pixels as {_pixels(trained)}, and model.data_preprocessor gives it "
                     f"{_pixels(given)}")  # fmt: skip
        cures.append(
            f"model.data_preprocessor.update(type='DetDataPreprocessor', mean={trained['mean']}, "
            f"std={trained['std']}, bgr_to_rgb={trained['order'] == 'RGB'})"
        )
    style = trained.get("style")
    if style is not None and given.get("style", style) != style:
        wrong.append(f"model.backbone.style={style!r}, and it is {given['style']!r} here")
        cures.append(f"model.backbone.style={style!r}")
        if (model.get("roi_head") or {}).get("shared_head"):
            cures.append(f"model.roi_head.shared_head.style={style!r}")
    if wrong:
        raise UserError(
            f"{what} was trained with another input than the config has: it expects "
            f"{'; '.join(wrong)}. Set {' and '.join(cures)}, or use the config of the "
            "checkpoint. CheckpointFitHook(same_input=False) turns this check off."
        )


def _pixels(described: Mapping[str, Any]) -> str:
    return f"{described['order']} of mean {described['mean']} and std {described['std']}"


def _same(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    return a["order"] == b["order"] and all(
        _near(a[name], b[name], a["std"]) for name in ("mean", "std")
    )


def _near(a: Sequence[float], b: Sequence[float], std: Sequence[float]) -> bool:
    """Whether numbers are those of another rounding; a std of 1 is of pixels up to 255."""
    limits = [_CLOSE * max(deviation, 10.0) for deviation in std]
    return all(abs(x - y) <= limit for x, y, limit in zip(a, b, limits, strict=True))

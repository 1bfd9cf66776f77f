"""``metadata.json``: what a runtime must know about an exported model.

``preprocessing`` describes how to make the graph's input from an image, ``classes`` and
``keypoints`` name its outputs, and ``masks`` has the mask threshold. Mean, standard deviation and
padding are part of the graph and listed for information only.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmdet.registry import TRANSFORMS
from mmengine.config import Config
from torch import nn

from mmdet_maskr.config_types import name_of
from mmdet_maskr.datasets import wrappers
from mmdet_maskr.deploy.files import METADATA, VERSION, checksum
from mmdet_maskr.deploy.images import DECODERS
from mmdet_maskr.errors import UserError
from mmdet_maskr.version import __version__

RESIZES = ("Resize", "KeypointResize", "SourceResize")
# DetInferencer puts the second in the first's place, MaskRInferencer the fourth in the third's
LOADERS = ("LoadImageFromFile", "InferencerLoader", "LoadBands", "InferencerBandsLoader")
OF_BANDS = LOADERS[2:]
# of a test pipeline, what changes no pixel
NEUTRAL = (
    *LOADERS,
    "LoadAnnotations",
    "LoadInstanceAnnotations",
    "LoadKeypointAnnotations",
    "PackDetInputs",
    "PackInstanceInputs",
    "PackKeypointInputs",
)
KEYPOINT_META = ("keypoints", "keypoint_swaps", "keypoint_sigmas", "skeleton")


def describe(model: nn.Module, cfg: Config, dataset_meta: dict) -> dict[str, Any]:
    """The metadata of a model that do not depend on the file format.

    Args:
        model: the detector.
        cfg: its config with the test pipeline.
        dataset_meta: ``classes``, and names of keypoints.

    Raises:
        UserError: the runtime does not support the test pipeline, or masks are gray.
    """
    head = model.roi_head
    pipeline = wrappers.the_pipeline(cfg.test_dataloader.dataset, "an export")
    load = load_of(pipeline)
    kind = "0 to 255, channels B, G, R"
    if "bands" in load:
        kind = "in the numbers of the files, bands in their order"
    described: dict[str, Any] = dict(
        version=VERSION,
        mmdet_maskr=__version__,
        classes=list(dataset_meta["classes"]),
        preprocessing=dict(
            input=f"image: 1 x {load.get('bands', 3)} x H x W, float32, {kind}, resized",
            load=load,
            resize=resize_of(pipeline),
            in_the_graph=_normalization(model.data_preprocessor),
        ),
    )
    if head.with_mask:
        threshold = float(model.test_cfg.rcnn.mask_thr_binary)
        if threshold < 0:
            raise UserError(
                f"test_cfg.rcnn.mask_thr_binary={threshold} means gray masks, which cannot be "
                "exported: set it to 0.5."
            )
        described["masks"] = dict(threshold=threshold)
    if getattr(head, "with_keypoint", False):
        described["keypoints"] = dict(
            score=head.keypoint_head.codec.score,
            count=head.keypoint_head.num_keypoints,
            **{key: _plain(dataset_meta[key]) for key in KEYPOINT_META if key in dataset_meta},
        )
    return described


def load_of(pipeline: Sequence[dict]) -> dict[str, Any]:
    """How a test pipeline loads a file: decoder, EXIF orientation, pixel type.

    Raises:
        UserError: the runtime does not support a loading option.
    """
    loaders = [step for step in pipeline if _name(step) in LOADERS]
    if len(loaders) != 1:
        raise UserError(
            f"a test pipeline with {len(loaders)} transforms that load an image cannot be "
            f"exported; it has one of {', '.join(LOADERS)}."
        )
    options = loaders[0]
    if _name(options) in OF_BANDS:
        if any(_name(step) == "SourceResize" for step in pipeline):
            raise UserError(
                "the test pipeline has LoadBands and SourceResize, but SourceResize supports "
                "only three colors of 8 bits: use Resize."
            )
        return dict(bands=int(options["channels"]))
    color = options.get("color_type", "color")
    decoder = options.get("imdecode_backend") or "cv2"
    for option, value, accepted in (
        ("color_type", color, ("color", "color_ignore_orientation")),
        ("imdecode_backend", decoder, DECODERS),
    ):
        if value not in accepted:
            raise UserError(
                f"LoadImageFromFile.{option}={value!r} of the test pipeline cannot be exported; "
                f"accepted are {accepted}."
            )
    floats = bool(options.get("to_float32", False))
    if floats and any(_name(step) == "SourceResize" for step in pipeline):
        raise UserError(
            "the test pipeline has LoadImageFromFile.to_float32=True and SourceResize, but "
            "SourceResize supports only 8 bits: leave to_float32 out."
        )
    return dict(decoder=decoder, orientation=color == "color", float32=floats)


def _name(transform: dict) -> str:
    return name_of(transform["type"], TRANSFORMS)


def resize_of(pipeline: Sequence[dict]) -> dict[str, Any] | None:
    """The resize of a test pipeline; None if there is none.

    Raises:
        UserError: the runtime does not support a transform or an option of the resize.
    """
    found = None
    for transform in pipeline:
        name = _name(transform)
        if name not in (*RESIZES, *NEUTRAL):
            raise UserError(
                f"the test pipeline's {name} cannot be exported; accepted are "
                f"{', '.join((*NEUTRAL, *RESIZES))}."
            )
        if name not in RESIZES:
            continue
        if found is not None:
            raise UserError("a test pipeline that resizes twice cannot be exported.")
        found = _resize(name, transform)
    return found


def _resize(name: str, transform: dict) -> dict[str, Any]:
    for option, accepted in (("interpolation", "bilinear"), ("backend", "cv2")):
        if transform.get(option, accepted) != accepted:
            raise UserError(
                f"{name}.{option}={transform[option]!r} of the test pipeline cannot be exported; "
                f"accepted is {accepted!r}."
            )
    pixels = "mmdet"
    if name == "SourceResize":
        pixels = transform.get("convention", "detectron2")
        if pixels != "detectron2":
            raise UserError(
                f"SourceResize.convention={pixels!r} of the test pipeline cannot be exported; "
                "accepted is 'detectron2'."
            )
    scale, factor = transform.get("scale"), transform.get("scale_factor")
    return dict(
        pixels=pixels,
        scale=None if scale is None else _pair(scale),
        scale_factor=None if factor is None else _pair(factor),
        keep_ratio=bool(transform.get("keep_ratio", name == "SourceResize")),
    )


def _pair(value: float | Sequence[float]) -> list[float]:
    return [value, value] if isinstance(value, (int, float)) else list(value)


def _normalization(preprocessor: nn.Module) -> dict[str, Any]:
    told: dict[str, Any] = dict(
        bgr_to_rgb=bool(preprocessor._channel_conversion),
        pad_size_divisor=int(preprocessor.pad_size_divisor),
        pad_value=float(preprocessor.pad_value),
    )
    if preprocessor._enable_normalize:
        told.update({k: getattr(preprocessor, k).flatten().tolist() for k in ("mean", "std")})
    return told


def _plain(value: Any) -> Any:
    """Tuples and arrays as lists."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        return value
    return [_plain(item) for item in value]


def write(folder: Path, described: dict[str, Any], **more: Any) -> None:
    """Write ``metadata.json``, with its checksum."""
    content = {**described, **more}
    content["checksum"] = checksum(content)
    text = json.dumps(content, indent=2, ensure_ascii=False)
    (folder / METADATA).write_text(text + "\n", encoding="utf-8")

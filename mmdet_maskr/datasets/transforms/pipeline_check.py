"""Finding, when the data set is built, transforms that would leave keypoints behind."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import mmcv.transforms
import mmengine.dataset
from mmcv.transforms import (
    KeyMapper,
    RandomApply,
    RandomChoice,
    RandomChoiceResize,
    RandomResize,
    TestTimeAug,
)
from mmdet.datasets.transforms import MultiBranch, ResizeShortestEdge

from mmdet_maskr.datasets.transforms.loading import LoadKeypointAnnotations
from mmdet_maskr.errors import UserError

# Transforms of mmdet and mmcv that neither move the image nor touch boxes.
HARMLESS = frozenset(
    """
    AutoContrast Brightness Color ColorTransform Contrast Corrupt CutOut Equalize Invert Normalize
    PhotoMetricDistortion Posterize RandomGrayscale Sharpness Solarize SolarizeAdd
    YOLOXHSVRandomAug
    LoadImageFromFile LoadImageFromNDArray LoadMultiChannelImageFromFiles LoadProposals
    SegRescale
    """.split()
)
_AFFINE = "KeypointRandomAffine"
_CROP = "KeypointRandomCrop"
INSTEAD = {
    "CenterCrop": _CROP,
    "Expand": f"{_AFFINE} with scaling_ratio_range below 1",
    "FilterAnnotations": "KeypointFilterAnnotations",
    "FixScaleResize": "KeypointResize",
    "FixShapeResize": "KeypointResize and KeypointPad",
    "LoadAnnotations": "LoadKeypointAnnotations alone",
    "MinIoURandomCrop": _CROP,
    "PackDetInputs": "PackKeypointInputs (PackDetInputs drops keypoints)",
    "Pad": "KeypointPad",
    "RandomAffine": _AFFINE,
    "RandomCenterCropPad": f"{_CROP} and KeypointPad",
    "RandomCrop": _CROP,
    "RandomFlip": "KeypointRandomFlip",
    "RandomShift": _AFFINE,
    "Resize": "KeypointResize (in RandomResize and its like: resize_type='KeypointResize')",
    "Rotate": _AFFINE,
    "ShearX": _AFFINE,
    "ShearY": _AFFINE,
    "TranslateX": _AFFINE,
    "TranslateY": _AFFINE,
}


def check_pipeline(pipeline: Callable | Iterable[Callable]) -> None:
    """Check a built pipeline: once it loads keypoints, nothing after may leave them behind.

    Looks into wrappers (Compose, RandomApply, RandomChoice, RandomOrder, TransformBroadcaster,
    TestTimeAug, MultiBranch, AutoAugment, ...) and at the resize of RandomResize and its like.
    Transforms that come from neither mmdet nor mmcv are their author's care;
    :class:`.PackKeypointInputs` checks them at run time.

    Args:
        pipeline: a Compose, or built transforms.

    Raises:
        UserError: names the transform, and ours to use instead.
    """
    _walk([pipeline] if callable(pipeline) else pipeline, loaded=False)


def _walk(transforms: Iterable[Callable], loaded: bool) -> bool:
    """Check transforms in order; return whether keypoints are loaded after them."""
    for transform in transforms:
        inner = _wrapped(transform)
        if inner is not None:
            after = [_walk(branch, loaded) for branch in inner]
            loaded = loaded or any(after)
        elif isinstance(transform, LoadKeypointAnnotations):
            loaded = loaded or transform.with_keypoints
        elif _is_stock(transform):
            _check(transform, loaded)
    return loaded


def _wrapped(transform: Callable) -> list[Iterable[Callable]] | None:
    """The pipelines inside a wrapper, each of them a sequence of transforms."""
    if isinstance(transform, TestTimeAug):
        return [[subroutine] for subroutine in transform.subroutines]
    if isinstance(transform, MultiBranch):
        return [[branch] for branch in transform.branch_pipelines.values()]
    if isinstance(transform, RandomChoice):
        return [[branch] for branch in transform.transforms]
    if isinstance(transform, RandomApply | KeyMapper):
        return [[transform.transforms]]
    if isinstance(transform, mmcv.transforms.Compose | mmengine.dataset.Compose):
        return [transform.transforms]
    if isinstance(transform, RandomResize | RandomChoiceResize | ResizeShortestEdge):
        return [[transform.resize]]
    return None


def _is_stock(transform: Callable) -> bool:
    return type(transform).__module__.partition(".")[0] in ("mmdet", "mmcv")


def _check(transform: Callable, loaded: bool) -> None:
    name = type(transform).__name__
    if getattr(transform, "with_keypoints", False):
        raise UserError(
            f"{name}(with_keypoints=True) is accepted but loads no keypoints in step with boxes: "
            "use LoadKeypointAnnotations instead."
        )
    if not loaded or name in HARMLESS:
        return
    if name in INSTEAD:
        advice = f"Use {INSTEAD[name]} instead."
    else:
        advice = (
            "Leave it out; the geometric transforms that take keypoints are KeypointResize, "
            "KeypointRandomFlip, KeypointRandomCrop, KeypointPad and KeypointRandomAffine."
        )
    raise UserError(
        f"the pipeline loads keypoints, and {name} after that is not known to keep them in step "
        f"with the image and its boxes. {advice}"
    )

"""Finds transforms that would leave masks or keypoints behind, when the dataset is built."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

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
from mmdet.datasets.transforms import LoadAnnotations, MultiBranch, ResizeShortestEdge

from mmdet_maskr.datasets.transforms.bands import LoadBands
from mmdet_maskr.datasets.transforms.loading import LoadKeypointAnnotations
from mmdet_maskr.datasets.transforms.with_masks import MasksFollowBoxes, PolygonsMove
from mmdet_maskr.errors import UserError

# Transforms of mmdet and mmcv that neither move the image nor touch boxes.
HARMLESS = frozenset(
    """
    AutoContrast Brightness Color ColorTransform Contrast Corrupt CutOut Equalize Invert Normalize
    PhotoMetricDistortion Posterize RandomGrayscale Sharpness Solarize SolarizeAdd
    YOLOXHSVRandomAug
    LoadImageFromFile LoadImageFromNDArray LoadMultiChannelImageFromFiles LoadProposals LoadBands
    SegRescale
    """.split()
)
# Of these, what means something for three colors of 8 bits alone.
COLORS_ONLY = frozenset(
    """
    AutoContrast Brightness Color ColorTransform Contrast Corrupt Equalize Invert
    PhotoMetricDistortion Posterize RandomGrayscale Sharpness Solarize SolarizeAdd YOLOXHSVRandomAug
    """.split()
)
_AFFINE = "KeypointRandomAffine"
_CROP = "KeypointRandomCrop"
INSTEAD = {
    "CenterCrop": _CROP,
    "CopyPaste": "InstanceCopyPaste",
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


# Transforms of mmdet that move boxes and leave masks behind, crash on them, or move them elsewhere.
MASKS_INSTEAD = {
    "CachedMixUp": "InstanceCachedMixUp",
    "CachedMosaic": "InstanceCachedMosaic",
    "MixUp": "InstanceMixUp",
    "Mosaic": "InstanceMosaic",
    "RandomAffine": _AFFINE,
    "RandomCenterCropPad": "RandomCrop and Pad",
    "RandomShift": "InstanceRandomShift",
}
_BITMAPS = "poly2mask=True in LoadAnnotations"
POLYGONS_INSTEAD = {
    "CopyPaste": "InstanceCopyPaste with poly2mask=None",
    "Expand": f"{_AFFINE} with scaling_ratio_range below 1, or {_BITMAPS}",
    "RandomErasing": _BITMAPS,
    "Rotate": "InstanceRotate",
    "ShearX": "InstanceShearX",
    "ShearY": "InstanceShearY",
}
# mmcv's own of these names move boxes alone; mmdet's, which are built from texts, masks too.
_MMCV_MOVES = ("CenterCrop", "Pad", "RandomFlip", "Resize")
KEYPOINTS, MASKS, POLYGONS, BANDS = "keypoints", "masks", "polygons", "bands"
NOTHING: frozenset[str] = frozenset()


def check_pipeline(
    pipeline: Callable | Iterable[Callable], loaded: frozenset[str] = NOTHING
) -> frozenset[str]:
    """Check a built pipeline: once it loads masks or keypoints, nothing may leave them behind.

    Looks into wrappers (Compose, RandomApply, RandomChoice, RandomOrder, TransformBroadcaster,
    TestTimeAug, MultiBranch, AutoAugment, ...) and at the resize of RandomResize and its like.
    Transforms that come from neither mmdet nor mmcv are their author's care;
    :class:`.PackKeypointInputs` checks them at run time.

    Args:
        pipeline: a Compose, or built transforms.
        loaded: what an earlier pipeline has loaded, of KEYPOINTS, MASKS, POLYGONS and BANDS.

    Returns:
        What is loaded after it.

    Raises:
        UserError: names the transform, and ours to use instead.
    """
    return _walk([pipeline] if callable(pipeline) else pipeline, loaded)


def loads_polygons_only(pipeline: Callable | Iterable[Callable]) -> bool:
    """Whether a built pipeline loads masks with ``poly2mask=False``."""
    transforms = [pipeline] if callable(pipeline) else pipeline
    return any(POLYGONS in _loads(transform) for transform in leaves(transforms))


def loads_masks(pipeline: Callable | Iterable[Callable], as_pixels: bool = False) -> bool:
    """Whether a built pipeline loads masks.

    Args:
        pipeline: a Compose, or built transforms.
        as_pixels: count those alone that are mmdet's bitmaps or polygons, and no geometry.
    """
    transforms = [pipeline] if callable(pipeline) else pipeline
    return any(
        MASKS in _loads(transform) and not (as_pixels and getattr(transform, "as_geometry", False))
        for transform in leaves(transforms)
    )


def leaves(transforms: Iterable[Callable]) -> Iterator[Callable]:
    """All transforms of built ones in order, those within wrappers instead of the wrappers."""
    for transform in transforms:
        inner = _wrapped(transform)
        if inner is None:
            yield transform
        else:
            for branch in inner:
                yield from leaves(branch)


def _walk(transforms: Iterable[Callable], loaded: frozenset[str]) -> frozenset[str]:
    """Check transforms in order; return what is loaded after them."""
    for transform in transforms:
        inner = _wrapped(transform)
        if inner is not None:
            loaded = loaded.union(*[_walk(branch, loaded) for branch in inner])
            continue
        if _is_stock(transform) or isinstance(transform, MasksFollowBoxes | PolygonsMove):
            _check_keypoints(transform, KEYPOINTS in loaded)
        if _is_stock(transform):
            _check_masks(transform, loaded)
            if BANDS in loaded and type(transform).__name__ in COLORS_ONLY:
                raise UserError(
                    f"the pipeline loads bands (LoadBands), but {type(transform).__name__} works "
                    "only with three colors of 8 bits: leave it out."
                )
        loaded |= _loads(transform)
    return loaded


def _loads(transform: Callable) -> frozenset[str]:
    """What a transform adds to what is loaded."""
    if isinstance(transform, LoadBands):
        return frozenset({BANDS})
    if not isinstance(transform, LoadAnnotations):
        return NOTHING
    masks = {MASKS} if transform.with_mask else set()
    polygons = {POLYGONS} if masks and not transform.poly2mask else set()
    points = isinstance(transform, LoadKeypointAnnotations) and transform.with_keypoints
    return frozenset(masks | polygons | ({KEYPOINTS} if points else set()))


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


def _check_masks(transform: Callable, loaded: frozenset[str]) -> None:
    name, module = type(transform).__name__, type(transform).__module__
    if MASKS not in loaded:
        return
    instead = MASKS_INSTEAD.get(name)
    if POLYGONS in loaded:
        instead = instead or POLYGONS_INSTEAD.get(name)
    if module.startswith("mmcv.") and name in _MMCV_MOVES:
        instead = f"mmdet.datasets.transforms.{name}"
        if name == "CenterCrop":
            instead = "RandomCrop"
    if name == "Albu" and "gt_masks" not in getattr(transform, "keymap_to_albu", ("gt_masks",)):
        instead = f"{name} with gt_masks='masks' in its keymap"
    if instead is not None:
        what = "polygons (poly2mask=False)" if POLYGONS in loaded else "masks"
        raise UserError(
            f"the pipeline loads {what}, but {name} of {module.partition('.')[0]} does "
            f"not move the masks with the image and the boxes. Use {instead} instead."
        )


def _check_keypoints(transform: Callable, loaded: bool) -> None:
    name = type(transform).__name__
    if getattr(transform, "with_keypoints", False):
        raise UserError(
            f"{name}(with_keypoints=True) loads keypoints that do not stay with their "
            "boxes: use LoadKeypointAnnotations instead."
        )
    if not loaded or name in HARMLESS:
        return
    if name in INSTEAD:
        does, advice = "does", f"Use {INSTEAD[name]} instead."
    else:
        does, advice = (
            "may",
            (
                "Leave it out; the geometric transforms that take keypoints are KeypointResize, "
                "KeypointRandomFlip, KeypointRandomCrop, KeypointPad and KeypointRandomAffine."
            ),
        )
    raise UserError(
        f"the pipeline loads keypoints, but {name} {does} not move them with the image and "
        f"the boxes. {advice}"
    )

"""Masks stay with image and boxes, or the transform that would leave them is refused when built."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from mmcv import transforms as mmcv_transforms
from mmcv.transforms import Compose
from mmdet.datasets.transforms import Albu
from mmdet.registry import TRANSFORMS
from mmengine.runner import set_random_seed

from mmdet_maskr.datasets.transforms import check_pipeline
from mmdet_maskr.errors import UserError

HEIGHT, WIDTH = 160, 220
OBJECTS = (
    [20, 30, 100, 25, 90, 120, 30, 110],
    [140, 90, 185, 100, 180, 140, 150, 150],
    [110, 10, 200, 15, 190, 70, 120, 60],
)
SCALE = dict(img_scale=(WIDTH, HEIGHT))
# ours, and what it takes the place of
OURS = {
    "InstanceRandomShift": dict(prob=1.0, max_shift_px=32),
    "InstanceMosaic": dict(prob=1.0, **SCALE),
    "InstanceMixUp": dict(**SCALE),
    "InstanceCachedMosaic": dict(prob=1.0, **SCALE),
    "InstanceCachedMixUp": dict(prob=1.0, **SCALE),
    "InstanceRotate": dict(prob=1.0, min_mag=20.0),
    "InstanceShearX": dict(prob=1.0, min_mag=20.0),
    "InstanceShearY": dict(prob=1.0, min_mag=20.0),
}
ALWAYS = {
    "RandomShift": dict(prob=1.0),
    "Mosaic": SCALE,
    "MixUp": SCALE,
    "CachedMosaic": SCALE,
    "CachedMixUp": SCALE,
    "RandomAffine": {},
    "RandomCenterCropPad": dict(
        crop_size=(128, 128), ratios=(1.0,), mean=[0, 0, 0], std=[1, 1, 1], to_rgb=False,
        test_pad_mode=None,
    ),
}  # fmt: skip
POLYGONS_ONLY = {
    "Rotate": {},
    "ShearX": {},
    "ShearY": {},
    "Expand": {},
    "RandomErasing": dict(n_patches=2, ratio=0.2),
    "CopyPaste": {},
}


def load(polygons: bool | None) -> dict:
    """As bitmaps (False), as mmdet's polygons (True) or as geometry (None)."""
    if polygons is None:
        return dict(type="LoadInstanceAnnotations", with_bbox=True, with_mask=True)
    return dict(type="LoadAnnotations", with_bbox=True, with_mask=True, poly2mask=not polygons)


def scene(polygons: bool | None, chosen: tuple[int, ...], size: float = 1.0) -> dict:
    """Loaded; the pixels of the object number k are 60 (k + 1) and the others 0."""
    height, width = round(HEIGHT * size), round(WIDTH * size)
    instances = []
    for k in chosen:
        points = np.array(OBJECTS[k], float).reshape(-1, 2) * size
        box = [*points.min(0), *points.max(0)]
        polygon = [points.reshape(-1).tolist()]
        instances.append(dict(bbox=box, bbox_label=k, ignore_flag=0, mask=polygon))
    results = dict(img_shape=(height, width), ori_shape=(height, width), instances=instances)
    results = TRANSFORMS.build(load(polygons))(results)
    image = np.zeros((height, width, 3), np.uint8)
    for label, mask in zip(results["gt_bboxes_labels"], results["gt_masks"].to_ndarray(),
                           strict=True):  # fmt: skip
        image[mask > 0] = 60 * (label + 1)
    return dict(results, img=image, img_path="photo.jpg", img_id=0)


def moved(name: str, options: dict, polygons: bool | None, seed: int) -> dict:
    transform = TRANSFORMS.build(dict(type=name, **copy.deepcopy(options)))
    mixes, alone = "Mix" in name, "Mosaic" not in name
    results = scene(polygons, () if mixes else (0, 1, 2))
    others = [scene(polygons, (0, 1, 2), size) for size in ((0.8,) if alone else (0.8, 1.3, 1.0))]
    if name.startswith("InstanceCached"):
        for other in others * 3:
            transform(copy.deepcopy(other))
        if mixes:  # from the cache, not the image itself
            transform.get_indexes = lambda cache: 0
    results["mix_results"] = others
    set_random_seed(seed)
    return transform(results)


@pytest.mark.parametrize("polygons", [False, True, None], ids=["bitmaps", "polygons", "geometry"])
@pytest.mark.parametrize("name", OURS)
def test_masks_are_where_their_objects_are(name: str, polygons: bool | None):
    """Each mask against the pixels of its object's gray, and the box around both."""
    overlaps, objects = [], 0
    for seed in range(6):
        results = moved(name, OURS[name], polygons, seed)
        masks, image = results["gt_masks"].to_ndarray(), results["img"].astype(float)[..., 0]
        boxes, labels = results["gt_bboxes"].tensor.numpy(), results["gt_bboxes_labels"]
        assert len(masks) == len(boxes) == len(labels) == len(results["gt_ignore_flags"])
        assert masks.shape[1:] == image.shape
        assert type(results["gt_bboxes"]).__name__ == "HorizontalBoxes"
        gray = 30 if "Mix" in name else 60  # mixed half and half with a black image
        for mask, box, label in zip(masks, boxes, labels, strict=True):
            x1, y1, x2, y2 = box.round().astype(int)
            there = np.zeros_like(mask, bool)
            there[y1:y2, x1:x2] = True
            there &= abs(image - gray * (label + 1)) < gray / 4
            if there.sum() < 300:
                continue
            objects += 1
            overlaps.append((there & (mask > 0)).sum() / (there | (mask > 0)).sum())
    assert objects > 5
    assert np.mean(overlaps) > 0.9 and min(overlaps) > 0.75, overlaps


@pytest.mark.parametrize("name", ["InstanceRotate", "InstanceShearX", "InstanceShearY"])
def test_polygons_move_as_bitmaps_do(name: str):
    for seed in range(4):
        bitmaps, polygons, geometry = (
            moved(name, OURS[name], kind, seed)["gt_masks"].to_ndarray() > 0
            for kind in (False, True, None)
        )
        for a, b, c in zip(bitmaps, polygons, geometry, strict=True):
            assert (a & b).sum() >= 0.93 * (a | b).sum()
            assert (a & c).sum() >= 0.93 * (a | c).sum()


@pytest.mark.parametrize("name", OURS)
def test_without_masks_as_mmdets(name: str):
    """The same image and boxes for the same seed."""
    found = []
    for kind in (name, name.removeprefix("Instance")):
        transform = TRANSFORMS.build(dict(type=kind, **copy.deepcopy(OURS[name])))
        for seed in range(6):
            results = scene(False, (0, 1, 2))
            others = 3 if "Mosaic" in name else 1
            results["mix_results"] = [scene(False, (0, 1)) for _ in range(others)]
            for image in (results, *results["mix_results"]):
                del image["gt_masks"]
            set_random_seed(seed)
            results = transform(results)
        found.append(results)
    ours, mmdets = found
    np.testing.assert_array_equal(ours["img"], mmdets["img"])
    np.testing.assert_array_equal(ours["gt_bboxes"].tensor, mmdets["gt_bboxes"].tensor)


@pytest.mark.parametrize("name", ["InstanceMosaic", "InstanceMixUp"])
def test_an_image_mixed_with_itself(name: str):
    """As mmdet's own tests do; the same as with copies of it, and the image is left as it is."""
    found = []
    for copies in (True, False):
        results = scene(False, (0, 1, 2))
        others = [results] * (3 if name == "InstanceMosaic" else 1)
        results["mix_results"] = [copy.deepcopy(own) for own in others] if copies else others
        transform = TRANSFORMS.build(dict(type=name, **copy.deepcopy(OURS[name])))
        set_random_seed(0)
        found.append(transform(results))
        assert len(results["gt_masks"]) == len(results["gt_bboxes"]) == 3
    ours, expected = found
    assert len(ours["gt_masks"]) == len(expected["gt_masks"]) > 3
    np.testing.assert_array_equal(ours["gt_masks"].masks, expected["gt_masks"].masks)
    np.testing.assert_array_equal(ours["gt_bboxes"].tensor, expected["gt_bboxes"].tensor)
    np.testing.assert_array_equal(ours["img"], expected["img"])


@pytest.mark.parametrize("name", OURS)
def test_boxes_as_arrays_stay_arrays(name: str):
    """As through mmdet's transforms, and they are those of boxes."""
    found = []
    for as_array in (True, False):
        results = scene(False, (0, 1, 2))
        others = [scene(False, (0, 1)) for _ in range(3 if "Mosaic" in name else 1)]
        for image in (results, *others):
            if as_array:
                image["gt_bboxes"] = image["gt_bboxes"].numpy()
        transform = TRANSFORMS.build(dict(type=name, **copy.deepcopy(OURS[name])))
        set_random_seed(0)
        moved = transform(dict(results, mix_results=others))
        found.append((moved["gt_bboxes"], moved["gt_masks"].masks))
    (boxes, masks), (expected, expected_masks) = found
    assert type(boxes) is np.ndarray and boxes.dtype == np.float32
    np.testing.assert_array_equal(boxes, expected.numpy())
    np.testing.assert_array_equal(masks, expected_masks)


@pytest.mark.parametrize("name", ["InstanceMosaic", "InstanceMixUp"])
def test_images_with_and_without_masks_are_not_mixed(name: str):
    others = [scene(False, (0, 1)) for _ in range(3 if name == "InstanceMosaic" else 1)]
    del others[-1]["gt_masks"]
    results = dict(scene(False, (0, 1, 2)), mix_results=others)
    with pytest.raises(UserError, match=rf"{name} mixes .*with_mask=True"):
        TRANSFORMS.build(dict(type=name, **copy.deepcopy(OURS[name])))(results)
    keys = ("gt_bboxes", "gt_bboxes_labels", "gt_ignore_flags")  # no objects, no masks to lose
    others[-1].update({key: others[-1][key][:0] for key in keys})
    moved = TRANSFORMS.build(dict(type=name, **copy.deepcopy(OURS[name])))(results)
    assert len(moved["gt_masks"]) == len(moved["gt_bboxes"]) > 0


def build(*transforms: dict) -> Compose:
    return Compose(copy.deepcopy(list(transforms)))


@pytest.mark.parametrize("name", [*ALWAYS, *POLYGONS_ONLY])
def test_stock_transforms_are_refused_when_built(name: str):
    config = dict(type=name, **{**ALWAYS, **POLYGONS_ONLY}[name])
    with pytest.raises(UserError, match=rf"{name} of mmdet does not move .* Use "):
        check_pipeline(build(load(polygons=True), config))
    if name in ALWAYS:
        with pytest.raises(UserError, match=name):
            check_pipeline(build(load(polygons=False), config))
    else:
        check_pipeline(build(load(polygons=False), config))
    check_pipeline(build(dict(type="LoadAnnotations", with_bbox=True), config))  # boxes alone


@pytest.mark.parametrize("name", OURS)
def test_ours_pass_for_masks_and_not_for_keypoints(name: str):
    config = dict(type=name, **OURS[name])
    check_pipeline(build(load(polygons=True), config))
    keypoints = dict(type="LoadKeypointAnnotations", with_bbox=True, with_mask=True)
    with pytest.raises(UserError, match=f"loads keypoints, but {name} may not move"):
        check_pipeline(build(keypoints, config))


@pytest.mark.parametrize(
    "wrapped",
    [
        dict(type="RandAugment", aug_space=[[dict(type="Rotate")]]),
        dict(type="AutoAugment", policies=[[dict(type="Rotate")]]),
        dict(type="RandomApply", transforms=[dict(type="RandomShift")]),
        dict(type="RandAugment"),  # mmdet's own space has a Rotate
    ],
    ids=lambda config: f"{config['type']} {len(config)}",
)
def test_wrappers_are_looked_into(wrapped: dict):
    with pytest.raises(UserError, match="does not move the masks"):
        check_pipeline(build(load(polygons=True), wrapped))


@pytest.mark.parametrize("name", ["Resize", "RandomFlip", "Pad", "CenterCrop"])
def test_mmcvs_own_move_boxes_alone(name: str):
    """New-style configs may import them in place of mmdet's."""
    options = dict(
        Resize=dict(scale=(99, 99)),
        RandomFlip=dict(prob=1.0),
        Pad=dict(size=(300, 300)),
        CenterCrop=dict(crop_size=(50, 50)),
    )[name]
    transform = getattr(mmcv_transforms, name)(**options)
    with pytest.raises(UserError, match=f"{name} of mmcv"):
        check_pipeline([TRANSFORMS.build(load(False)), transform])
    if name != "CenterCrop":
        check_pipeline(build(load(False), dict(type=name, **options)))


def test_albumentations_without_masks_in_its_keymap():
    albu = object.__new__(Albu)  # without its package, which the check does not look at
    albu.keymap_to_albu = dict(img="image", gt_bboxes="bboxes")
    with pytest.raises(UserError, match="gt_masks='masks'"):
        check_pipeline([TRANSFORMS.build(load(False)), albu])
    albu.keymap_to_albu["gt_masks"] = "masks"
    check_pipeline([TRANSFORMS.build(load(False)), albu])

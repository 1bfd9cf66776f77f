"""Transforms that would leave keypoints behind are refused: when built, and when packing."""

from __future__ import annotations

import numpy as np
import pytest
from marker_scenes import bare, instance, load, run
from mmcv.transforms import Compose
from mmdet.datasets.transforms import Albu, InstaBoost, RandomFlip
from mmdet.registry import TRANSFORMS
from mmengine.dataset import Compose as EngineCompose

from mmdet_maskr.datasets.transforms import check_pipeline, record_step

RESIZE = dict(type="Resize", scale=(300, 300))
FLIP = dict(type="RandomFlip", prob=1.0)
OUR_FLIP = dict(type="KeypointRandomFlip", prob=1.0)
# each moves the image or boxes of the scene below for every seed, or for the one given
STOCK = {
    "Resize": (RESIZE, "KeypointResize"),
    "FixScaleResize": (dict(type="FixScaleResize", scale=(300, 300)), "KeypointResize"),
    "FixShapeResize": (
        dict(type="FixShapeResize", width=300, height=200),
        "KeypointResize and KeypointPad",
    ),
    "RandomResize": (
        dict(type="RandomResize", scale=[(300, 300), (400, 400)]),
        "resize_type='KeypointResize'",
    ),
    "RandomChoiceResize": (
        dict(type="RandomChoiceResize", scales=[(300, 300)]),
        "resize_type='KeypointResize'",
    ),
    "ResizeShortestEdge": (
        dict(type="ResizeShortestEdge", scale=300),
        "resize_type='KeypointResize'",
    ),
    "RandomFlip": (FLIP, "KeypointRandomFlip"),
    "RandomCrop": (dict(type="RandomCrop", crop_size=(150, 120)), "KeypointRandomCrop"),
    "RandomShift": (dict(type="RandomShift", prob=1.0), "KeypointRandomAffine"),
    "Pad": (dict(type="Pad", size_divisor=32), "KeypointPad"),
    "Expand": (dict(type="Expand", prob=1.0), "KeypointRandomAffine"),
    "MinIoURandomCrop": (
        dict(type="MinIoURandomCrop", min_ious=(0.1, 0.2), min_crop_size=0.5),
        "KeypointRandomCrop",
    ),
    "RandomCenterCropPad": (
        dict(
            type="RandomCenterCropPad",
            crop_size=(128, 128),
            ratios=(1.0,),
            mean=[0, 0, 0],
            std=[1, 1, 1],
            to_rgb=True,
            test_pad_mode=None,
        ),
        "KeypointRandomCrop and KeypointPad",
    ),
    "RandomAffine": (dict(type="RandomAffine"), "KeypointRandomAffine"),
    "Rotate": (dict(type="Rotate", prob=1.0, min_mag=20.0), "KeypointRandomAffine"),
    "ShearX": (dict(type="ShearX", prob=1.0, min_mag=20.0), "KeypointRandomAffine"),
    "TranslateY": (dict(type="TranslateY", prob=1.0, min_mag=0.1), "KeypointRandomAffine"),
    "RandomErasing": (
        dict(type="RandomErasing", n_patches=20, ratio=0.5, bbox_erased_thr=0.1),
        "Leave it out",
    ),
    "FilterAnnotations": (
        dict(type="FilterAnnotations", min_gt_bbox_wh=(40, 40)),
        "KeypointFilterAnnotations",
    ),
    "CopyPaste": (dict(type="CopyPaste"), "Use InstanceCopyPaste instead"),
    "Mosaic": (dict(type="Mosaic", prob=1.0, img_scale=(160, 220)), "Leave it out"),
    "MixUp": (dict(type="MixUp", img_scale=(160, 220)), "Leave it out"),
}
HARMLESS = [
    dict(type="CutOut", n_holes=2, cutout_shape=(8, 8)),
    dict(type="Color", prob=1.0),
    dict(type="AutoContrast", prob=1.0),
    dict(type="YOLOXHSVRandomAug"),
    dict(type="RandomGrayscale", prob=0.5, keep_channels=True),
    dict(type="PhotoMetricDistortion"),
    dict(type="Normalize", mean=[1, 2, 3], std=[1, 1, 1]),
]


def two_people(masks: str | None = None, **options) -> dict:
    """Loaded: one instance 80 pixels wide, one 30."""
    rng = np.random.default_rng(0)
    points = np.array([[60.5, 50.5], [70.5, 60.5], [65.5, 75.5]])
    instances = [
        instance((20, 30, 100, 120), points),
        instance((140, 100, 170, 130), np.add(points, (90, 50))),
    ]
    image = rng.integers(0, 256, (160, 220, 3)).astype(np.uint8)
    return run(bare(image, instances), load(masks, **options))


def build(*transforms: dict | object) -> Compose:
    return Compose([dict(t) if isinstance(t, dict) else t for t in transforms])


@pytest.mark.parametrize("name", STOCK)
def test_stock_transforms_are_refused_when_built(name: str):
    """Only after keypoints are loaded; the message names the transform and ours."""
    config, instead = STOCK[name]
    refused = "Resize" if "resize_type" in instead else name
    with pytest.raises(ValueError, match=rf"loads keypoints, but {refused} .*{instead}"):
        check_pipeline(build(load(), config))
    check_pipeline(build(config, load()))
    check_pipeline(build(load(None, with_keypoints=False), config))


@pytest.mark.parametrize("then", [None, OUR_FLIP])
@pytest.mark.parametrize("name", STOCK)
def test_stock_transforms_are_refused_when_packing(name: str, then: dict | None):
    """Also where one of ours comes after, which must not take stale keypoints for good ones."""
    before = results = two_people()
    seed = 0
    while np.array_equal(results["img"].shape, before["img"].shape) and np.array_equal(
        results["gt_bboxes"].numpy(), before["gt_bboxes"].numpy()
    ):  # some draw a number first whether to do anything
        results = two_people("bitmap" if name == "CopyPaste" else None)
        results["mix_results"] = [two_people("bitmap") for _ in range(3 if name == "Mosaic" else 1)]
        results["img"] = results["img"].astype(np.float32)
        results = run(results, STOCK[name][0], seed=seed)
        seed += 1
    with pytest.raises(
        ValueError, match=r"photo\.jpg: .*that did not move the keypoints|boxes but keypoi"
    ):
        run(results, *([then] if then else []), dict(type="PackKeypointInputs"))


def test_photometric_transforms_pass_through():
    pipeline = build(load(), *HARMLESS, OUR_FLIP, dict(type="PackKeypointInputs"))
    check_pipeline(pipeline)
    plain = run(two_people(), OUR_FLIP)
    results = run(two_people(), *HARMLESS, OUR_FLIP, dict(type="PackKeypointInputs"))
    np.testing.assert_array_equal(
        results["data_samples"].gt_instances.keypoints, plain["gt_keypoints"]
    )


@pytest.mark.parametrize("cls", [Albu, InstaBoost])
def test_stock_transforms_that_need_other_packages(cls: type):
    """Built without their packages, which the check does not look at."""
    with pytest.raises(ValueError, match=f"{cls.__name__} may not move them"):
        check_pipeline([TRANSFORMS.build(load()), object.__new__(cls)])


@pytest.mark.parametrize(
    "wrapped",
    [
        dict(type="Compose", transforms=[OUR_FLIP, FLIP]),
        dict(type="RandomApply", transforms=[FLIP]),
        dict(type="RandomChoice", transforms=[[OUR_FLIP], [FLIP]]),
        dict(type="RandomOrder", transforms=[OUR_FLIP, FLIP]),
        dict(type="TransformBroadcaster", transforms=[FLIP], mapping={"img": ["img", "img"]}),
        dict(type="KeyMapper", transforms=[FLIP], mapping={"img": "img"}),
        dict(type="TestTimeAug", transforms=[[OUR_FLIP], [OUR_FLIP, FLIP]]),
        dict(type="MultiBranch", branch_field=["a"], a=[OUR_FLIP, FLIP]),
        dict(type="AutoAugment", policies=[[OUR_FLIP], [FLIP]]),
        dict(type="RandAugment", aug_space=[[OUR_FLIP], [FLIP]]),
        dict(type="RandomApply", transforms=[dict(type="RandomChoice", transforms=[[FLIP]])]),
    ],
    ids=lambda config: config["type"],
)
def test_wrappers_are_looked_into(wrapped: dict):
    with pytest.raises(ValueError, match=r"RandomFlip .*KeypointRandomFlip"):
        check_pipeline(build(load(), wrapped))
    check_pipeline(build(wrapped))


def test_keypoints_loaded_inside_a_wrapper_count_after_it():
    for wrapper in (
        dict(type="RandomChoice", transforms=[[load()], [load(with_keypoints=False)]]),
        dict(type="Compose", transforms=[load()]),
    ):
        with pytest.raises(ValueError, match="RandomFlip does not move"):
            check_pipeline(build(wrapper, FLIP))
    # each branch of test-time augmentation loads for itself
    augment = dict(
        type="TestTimeAug",
        transforms=[[RESIZE], [FLIP], [load()], [dict(type="PackKeypointInputs")]],
    )
    check_pipeline(build(augment))


def test_all_of_ours_pass():
    """As the Compose of a dataset, too."""
    check_pipeline(
        EngineCompose(
            [
                dict(type="LoadImageFromFile"),
                load(),
                dict(
                    type="RandomResize",
                    scale=[(300, 300), (400, 400)],
                    resize_type="KeypointResize",
                ),
                dict(type="RandomApply", transforms=[dict(type="KeypointRandomAffine")]),
                dict(type="KeypointRandomCrop", crop_size=(99, 99)),
                dict(type="KeypointPad", size_divisor=32),
                dict(type="KeypointFilterAnnotations"),
                lambda results: results,  # not mmdet's: its author's care
                dict(type="PackKeypointInputs"),
            ]
        )
    )


def test_stock_packing_drops_keypoints():
    with pytest.raises(ValueError, match=r"PackDetInputs .*PackKeypointInputs"):
        check_pipeline(build(load(), dict(type="PackDetInputs")))
    assert (
        "keypoints"
        not in run(two_people(), dict(type="PackDetInputs"))["data_samples"].gt_instances
    )


def test_the_option_that_mmdet_ignores():
    """LoadAnnotations(with_keypoints=True) is accepted by mmdet, and loads none."""
    with pytest.raises(ValueError, match=r"LoadAnnotations\(with_keypoints=True\).*use LoadKeyp"):
        check_pipeline(build(dict(type="LoadAnnotations", with_keypoints=True)))


def test_transforms_of_others_pass_the_check_but_not_packing():
    """A subclass from another package: unless it says that it moved keypoints itself."""

    class OwnFlip(RandomFlip):
        def transform(self, results: dict) -> dict:
            results = super().transform(results)
            keypoints = results["gt_keypoints"][:, results["keypoint_flip_indices"]]
            keypoints[..., 0] = results["img"].shape[1] - keypoints[..., 0]
            results["gt_keypoints"] = keypoints
            return results

    class OwnHonestFlip(OwnFlip):
        def transform(self, results: dict) -> dict:
            results = super().transform(results)
            record_step(results)
            return results

    pack = TRANSFORMS.build(dict(type="PackKeypointInputs"))
    for flip in (OwnFlip(prob=1.0), OwnHonestFlip(prob=1.0)):
        check_pipeline([TRANSFORMS.build(load()), flip, pack])
    with pytest.raises(ValueError, match=r"record_step\(results\)"):
        pack(OwnFlip(prob=1.0)(two_people()))
    given = pack(OwnHonestFlip(prob=1.0)(two_people()))["data_samples"].gt_instances.keypoints
    np.testing.assert_array_equal(given, run(two_people(), OUR_FLIP)["gt_keypoints"])


def test_keypoints_of_another_loader_need_a_record():
    results = two_people()
    del results["keypoint_record"]
    with pytest.raises(ValueError, match="do not come from LoadKeypointAnnotations"):
        run(results, dict(type="PackKeypointInputs"))
    record_step(results)
    run(results, dict(type="PackKeypointInputs"))


def test_numbers_of_boxes_and_keypoints_differ():
    results = two_people()
    results["gt_keypoints"] = results["gt_keypoints"][:1]
    with pytest.raises(ValueError, match=r"photo\.jpg: 2 boxes but keypoints of 1 instances"):
        run(results, dict(type="PackKeypointInputs"))


def test_packing_without_keypoints_as_mmdet():
    """Inference has none; meta keys are mmdet's and the flip indices where there are any."""
    ours = run(two_people(with_keypoints=False), dict(type="PackKeypointInputs"))["data_samples"]
    mmdets = run(two_people(with_keypoints=False), dict(type="PackDetInputs"))["data_samples"]
    assert set(ours.gt_instances.keys()) == set(mmdets.gt_instances.keys())
    assert set(ours.metainfo) - set(mmdets.metainfo) == {"keypoint_flip_indices"}


def test_what_records_no_homography_is_found_too():
    """RandomShift keeps size and number: the boxes tell. Cropping alone: the size tells."""
    results = run(two_people(), dict(type="RandomShift", prob=1.0))
    assert "homography_matrix" not in results
    with pytest.raises(ValueError, match="boxes were moved"):
        run(results, dict(type="PackKeypointInputs"))
    results = two_people()
    results["img"] = results["img"][:150]
    with pytest.raises(ValueError, match=r"changed from \(height, width\) \(160, 220\) to"):
        run(results, dict(type="PackKeypointInputs"))

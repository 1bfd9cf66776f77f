"""Keypoints stay on their image features: draw a marker, transform, find it again."""

from __future__ import annotations

import numpy as np
import pytest
from marker_scenes import FLIP_INDICES, SIGMA, centroid, load, run, scene

# Pixels. Pixel indices taken for coordinates are |s - 1| / 2 off after a scale of s (0.18 or more
# in the fixed resizes below) and up to a pixel after a flip or a rotation.
TOLERANCE = 0.06
RESIZES = {
    "resize": dict(type="KeypointResize", scale=(330, 240), keep_ratio=True),
    "resize without ratio": dict(type="KeypointResize", scale=(301, 97), keep_ratio=False),
    "shrink": dict(type="KeypointResize", scale_factor=0.6, keep_ratio=True),
    "random resize": dict(
        type="RandomResize",
        scale=[(140, 110), (420, 320)],
        keep_ratio=True,
        resize_type="KeypointResize",
    ),
    "random choice": dict(
        type="RandomChoiceResize",
        scales=[(150, 90), (400, 333)],
        keep_ratio=False,
        resize_type="KeypointResize",
    ),
    "shortest edge": dict(
        type="ResizeShortestEdge", scale=231, max_size=300, resize_type="KeypointResize"
    ),
}
FLIPS = {
    f"flip {way}": dict(type="KeypointRandomFlip", prob=1.0, direction=way)
    for way in ("horizontal", "vertical", "diagonal")
}
CROPS = {
    "crop": dict(type="KeypointRandomCrop", crop_size=(150, 120), allow_negative_crop=True),
    "relative crop": dict(
        type="KeypointRandomCrop",
        crop_size=(0.6, 0.6),
        crop_type="relative_range",
        allow_negative_crop=True,
    ),
}
PAD = dict(type="KeypointPad", size=(333, 256))
AFFINE = dict(type="KeypointRandomAffine", border_val=(0, 0, 0), scaling_ratio_range=(1, 1))
STILL = dict(max_rotate_degree=0, max_translate_ratio=0, max_shear_degree=0)
AFFINES = {
    "rotate": dict(AFFINE, **{**STILL, "max_rotate_degree": 180}),
    "scale": dict(AFFINE, **{**STILL, "scaling_ratio_range": (0.6, 1.6)}),
    "shear": dict(AFFINE, **{**STILL, "max_shear_degree": 30}),
    "translate": dict(AFFINE, **{**STILL, "max_translate_ratio": 0.3}),
    "affine": dict(
        AFFINE, max_rotate_degree=90, max_shear_degree=15, scaling_ratio_range=(0.7, 1.4)
    ),
}
LSJ = (
    dict(
        type="RandomResize",
        scale=(256, 256),
        ratio_range=(0.7, 2.0),
        keep_ratio=True,
        resize_type="KeypointResize",
    ),
    dict(type="KeypointRandomCrop", crop_size=(256, 256), allow_negative_crop=True),
    dict(type="KeypointPad", size=(256, 256)),
)
PIPELINES = {
    **{name: (step,) for name, step in (RESIZES | FLIPS | CROPS | AFFINES).items()},
    "pad": (PAD,),
    "large scale jitter": (*LSJ, FLIPS["flip horizontal"]),
    "all": (
        RESIZES["random resize"],
        FLIPS["flip horizontal"],
        AFFINES["affine"],
        CROPS["relative crop"],
        FLIPS["flip vertical"],
        PAD,
        AFFINES["rotate"],
        FLIPS["flip horizontal"],
    ),
    "in wrappers": (
        dict(type="RandomApply", transforms=[RESIZES["random resize"]], prob=0.7),
        dict(type="RandomChoice", transforms=[[FLIPS["flip vertical"]], [AFFINES["affine"], PAD]]),
        dict(type="RandomOrder", transforms=[FLIPS["flip horizontal"], CROPS["crop"]]),
    ),
}


@pytest.mark.parametrize("name", PIPELINES)
def test_keypoints_stay_on_their_markers(name: str):
    """Each marker that is well inside the image lies under its keypoint; one that is gone is 0."""
    found = 0
    for seed in range(20):
        points = np.random.default_rng(seed).uniform((35, 35), (185, 125), (3, 2))
        results = run(scene(points), load(None), *PIPELINES[name], seed=seed)
        found += check(results, points)
    assert found >= 8


def check(results: dict, points: np.ndarray) -> int:
    """Compare keypoints with the image; the number of markers found again."""
    if len(results["gt_bboxes"]) == 0:
        assert results["gt_keypoints"].shape == (0, 3, 3)
        return 0
    (keypoints,) = results["gt_keypoints"]
    assert keypoints.dtype == np.float32
    image = results["img"]
    linear = results.get("homography_matrix", np.eye(3))[:2, :2]
    mirrored = np.linalg.det(linear) < 0
    # the width of a moved blob in its widest direction
    reach = 4 * SIGMA * np.linalg.norm(linear, 2)
    full = 200 * 2 * np.pi * SIGMA**2 * abs(np.linalg.det(linear))
    found = 0
    for k, marker in enumerate(FLIP_INDICES if mirrored else range(3)):
        x, y, v = keypoints[k]
        channel = image[..., marker]
        share = channel.sum() / full
        if v == 0:
            assert (x, y) == (0, 0)
            assert share < 0.6, "a keypoint was lost though its marker is in the image"
            continue
        assert v == (2, 2, 1)[marker]
        assert share > 0.2, "a keypoint was kept though its marker left the image"
        room = min(x, y, image.shape[1] - x, image.shape[0] - y)
        if room > reach and share > 0.999:  # not cut by an earlier step
            np.testing.assert_allclose(centroid(channel), (x, y), atol=TOLERANCE)
            found += 1
    return found


@pytest.mark.parametrize("masks", ["bitmap", "polygon"])
@pytest.mark.parametrize("name", PIPELINES)
def test_masks_and_boxes_stay_with_keypoints(name: str, masks: str):
    """Labeled keypoints lie in their instance's mask and box, as they did before."""
    seen = 0
    for seed in range(4):
        points = np.random.default_rng(seed).uniform((40, 40), (180, 120), (3, 2))
        results = run(scene(points), load(masks), *PIPELINES[name], seed=seed)
        for box, mask, keypoints in zip(
            results["gt_bboxes"].tensor.numpy(),
            results["gt_masks"].to_ndarray(),
            results["gt_keypoints"],
            strict=True,
        ):
            assert mask.shape == results["img"].shape[:2] == results["img_shape"]
            for x, y, _ in keypoints[keypoints[:, 2] > 0]:
                # a keypoint on the border of the image belongs to the last pixel
                column, row = min(int(x), mask.shape[1] - 1), min(int(y), mask.shape[0] - 1)
                assert mask[row, column] == 1
                assert box[0] <= x <= box[2]
                assert box[1] <= y <= box[3]
                seen += 1
    assert seen >= 4

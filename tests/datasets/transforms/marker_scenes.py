"""Scenes with known keypoints: a bright blob of its own color channel for each keypoint."""

from __future__ import annotations

import copy

import numpy as np
from mmcv.transforms import Compose

import mmdet_maskr  # noqa: F401  (registers the transforms)

SIGMA = 5.0  # pixels; wide enough that resampling by half moves no centroid
FLIP_INDICES = [1, 0, 2]  # left, right, middle


def blobs(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """(H, W, K) float32 image: a Gaussian at each of the K points (continuous pixels)."""
    y, x = np.mgrid[:height, :width] + 0.5
    channels = [np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * SIGMA**2)) for px, py in points]
    return np.ascontiguousarray(np.stack(channels, -1) * 200, np.float32)


def centroid(channel: np.ndarray) -> np.ndarray:
    """The center of mass x, y in continuous pixels."""
    y, x = np.mgrid[: channel.shape[0], : channel.shape[1]] + 0.5
    return np.array([(channel * x).sum(), (channel * y).sum()]) / channel.sum()


def square(x1: float, y1: float, x2: float, y2: float) -> list[float]:
    return [x1, y1, x2, y1, x2, y2, x1, y2]


def instance(
    box: tuple[float, float, float, float], points: np.ndarray, visible: tuple = (2, 2, 1), **more
) -> dict:
    """As the dataset gives it: keypoints are pixel indices, so half a pixel less."""
    keypoints = np.zeros((3, 3), np.float32)
    keypoints[:, :2], keypoints[:, 2] = np.asarray(points) - 0.5, visible
    keypoints[keypoints[:, 2] == 0] = 0
    return dict(
        bbox=list(box),
        bbox_label=0,
        ignore_flag=0,
        mask=[square(*box)],
        keypoints=keypoints,
        **more,
    )


def scene(points: np.ndarray, height: int = 160, width: int = 220) -> dict:
    """One instance around three points, with the image of their blobs, before loading."""
    low, high = np.min(points, 0) - 8, np.max(points, 0) + 8
    box = (*np.clip(low, 0, None), *np.minimum(high, (width, height)))
    return bare(blobs(points, height, width), [instance(box, points)])


def bare(image: np.ndarray, instances: list[dict]) -> dict:
    return dict(
        img=image,
        img_path="photo.jpg",
        img_id=1,
        ori_shape=image.shape[:2],
        img_shape=image.shape[:2],
        height=image.shape[0],
        width=image.shape[1],
        instances=copy.deepcopy(instances),
        keypoint_flip_indices=FLIP_INDICES,
    )


def load(masks: str | None = "bitmap", **options) -> dict:
    """The config of the loader."""
    return dict(
        type="LoadKeypointAnnotations",
        with_mask=masks is not None,
        poly2mask=masks != "polygon",
        **options,
    )


def run(results: dict, *transforms: dict, seed: int = 0) -> dict | None:
    np.random.seed(seed)
    return Compose([dict(t) for t in transforms])(results)

"""Every RoI layer refuses bad options, features and RoIs, with the value in the message."""

from __future__ import annotations

import pytest
import torch
from roi_cases import DEVICES, all_sorts_of_rois, features

from mmdet_maskr.errors import UserError
from mmdet_maskr.ops import RoIAlign, RoIPool, RoIWarp, roi_align_pyramid

LAYERS = [RoIAlign(7), RoIAlign(7, pool_mode="max"), RoIPool(7), RoIWarp(7)]
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("layer", LAYERS, ids=repr)
@pytest.mark.parametrize(
    ("roi", "message"),
    [
        ([2, 1, 1, 4, 4], r"RoI 1 has image index 2, but the batch has 2 images \(0 to 1\)"),
        ([-1, 1, 1, 4, 4], "image index -1"),
        ([0.5, 1, 1, 4, 4], r"image index 0\.5"),
        ([NAN, 1, 1, 4, 4], "image index nan"),
        ([0, 5, 1, 4, 4], r"RoI 1 has a negative.*\(5, 1, 4, 4\)"),
        ([0, 1, 5, 4, 4], "RoI 1 has a negative"),
        ([0, 1, 1, NAN, 4], r"\(1, 1, nan, 4\)"),
        ([0, 1, -INF, 4, 4], r"\(1, -inf, 4, 4\)"),
        ([0, INF, 1, INF, 4], r"\(inf, 1, inf, 4\)"),
    ],
)
def test_bad_roi(device: str, layer, roi: list[float], message: str):
    rois = torch.tensor([[0.0, 1, 1, 4, 4], roi], device=device)
    with pytest.raises(UserError, match=message):
        layer(features(2).to(device), rois)


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_bad_shapes_and_types(layer):
    rois = all_sorts_of_rois()
    for wrong in (rois[:, 1:], rois[0], rois[None]):
        with pytest.raises(UserError, match=r"must be \(N, 5\)"):
            layer(features(), wrong)
    with pytest.raises(UserError, match=r"must be \(B, C, H, W\).*\(18, 19, 25\)"):
        layer(features()[0], rois)
    with pytest.raises(UserError, match=r"torch\.int64"):
        layer(features().long(), rois)
    with pytest.raises(UserError, match=r"no pixels.*\(2, 18, 0, 25\)"):
        layer(features()[:, :, :0], rois)
    with pytest.raises(UserError, match="RoIs are on meta, features on cpu"):
        layer(features(), rois.to("meta"))


@pytest.mark.parametrize(
    ("layer", "options", "message"),
    [
        (RoIAlign, dict(output_size=0), "output_size .* not 0"),
        (RoIPool, dict(output_size=(7, 7, 7)), "output_size"),
        (RoIWarp, dict(output_size=7.5), r"7\.5"),
        (RoIAlign, dict(output_size=7, spatial_scale=0), "spatial_scale .* not 0"),
        (RoIPool, dict(output_size=7, spatial_scale=NAN), "spatial_scale .* not nan"),
        (RoIAlign, dict(output_size=7, sampling_ratio=1.5), r"sampling_ratio .* not 1\.5"),
        (RoIWarp, dict(output_size=7, sampling_ratio=0.5), r"sampling_ratio .* not 0\.5"),
        (RoIAlign, dict(output_size=7, pool_mode="mean"), r"\('avg', 'max'\), not 'mean'"),
        (RoIWarp, dict(output_size=7, pool_mode="sum"), "not 'sum'"),
    ],
)
def test_bad_options(layer, options: dict, message: str):
    with pytest.raises(UserError, match=message):
        layer(**options)


def test_bad_pyramids():
    rois, maps = all_sorts_of_rois(), [features(), features()]
    levels = torch.zeros(40, dtype=torch.long)
    with pytest.raises(UserError, match="2 levels needs as many spatial scales"):
        roi_align_pyramid(maps, rois, levels, 7, [1.0])
    with pytest.raises(UserError, match="needs the level of each RoI"):
        roi_align_pyramid(maps, rois, None, 7, [1.0, 0.5])
    with pytest.raises(UserError, match=r"levels must be \(40,\) integers, got \(39,\)"):
        roi_align_pyramid(maps, rois, levels[1:], 7, [1.0, 0.5])
    with pytest.raises(UserError, match="RoI level 2 is outside a pyramid of 2 levels"):
        roi_align_pyramid(maps, rois, levels + 2, 7, [1.0, 0.5])
    with pytest.raises(UserError, match=r"levels must agree.*level 1 \(2, 9, 19, 25\)"):
        roi_align_pyramid([maps[0], maps[1][:, :9]], rois, levels, 7, [1.0, 0.5])
    with pytest.raises(UserError, match="levels must agree"):
        roi_align_pyramid([maps[0], maps[1].double()], rois, levels, 7, [1.0, 0.5])

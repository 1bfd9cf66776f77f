"""Masks as geometry go through mmdet's transforms and ours, and into mmdet's heads and ours."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.registry import TRANSFORMS
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine.config import ConfigDict
from mmengine.runner import set_random_seed
from mmengine.structures import InstanceData
from test_masks_in_step import HEIGHT, WIDTH, scene

from mmdet_maskr.datasets.transforms import check_pipeline
from mmdet_maskr.engine.batch_file import pack_batch, unpack_batch
from mmdet_maskr.errors import UserError
from mmdet_maskr.models import ComposedMaskHead
from mmdet_maskr.structures import GeometryMasks

STOCK = {
    "Resize": dict(scale=(300, 200), keep_ratio=True),
    "Resize, ratio": dict(scale=(300, 100), keep_ratio=False),
    "RandomFlip": dict(prob=1.0),
    "RandomFlip, both": dict(prob=1.0, direction="diagonal"),
    "RandomCrop": dict(crop_size=(100, 120), recompute_bbox=True),
    "MinIoURandomCrop": dict(min_crop_size=0.4),
    "Pad": dict(size=(256, 200)),
    "Expand": dict(prob=1.0, ratio_range=(1.5, 2)),
    "Rotate": dict(prob=1.0, min_mag=20.0),
    "ShearX": dict(prob=1.0, min_mag=20.0),
    "ShearY": dict(prob=1.0, min_mag=20.0),
    "TranslateX": dict(prob=1.0, min_mag=0.1, max_mag=0.3),
    "TranslateY": dict(prob=1.0, min_mag=0.1, max_mag=0.3),
    "RandomErasing": dict(n_patches=3, ratio=0.2, img_border_value=0),
    "CopyPaste": dict(),
    "FilterAnnotations": dict(by_mask=True, min_gt_mask_area=50),
    "KeypointRandomAffine": dict(border_val=(0, 0, 0), recompute_bbox=True),
}


@pytest.mark.parametrize("name", STOCK)
def test_as_bitmaps_in_every_transform(name: str):
    transform = TRANSFORMS.build(dict(type=name.partition(",")[0], **STOCK[name]))
    for seed in range(3):
        found = []
        for kind in (None, False):
            results = scene(kind, (0, 1, 2))
            results["mix_results"] = [scene(kind, (0, 2))]
            set_random_seed(seed)
            results = transform(results)
            found.append(results)
        if results is None:
            assert found == [None, None]
            continue
        ours, bitmaps = found
        np.testing.assert_array_equal(ours["gt_bboxes_labels"], bitmaps["gt_bboxes_labels"])
        a, b = ours["gt_masks"], bitmaps["gt_masks"]
        assert (a.height, a.width) == (b.height, b.width) == ours["img"].shape[:2]
        assert len(a) == len(b) == len(ours["gt_bboxes"])
        assert (ours["gt_bboxes"].tensor - bitmaps["gt_bboxes"].tensor).abs().max() <= 2
        for one, other in zip(a.to_ndarray() > 0, b.to_ndarray() > 0, strict=True):
            assert (one & other).sum() >= 0.93 * (one | other).sum() - 5


@pytest.mark.parametrize("name", ["RandomErasing", "CopyPaste", "Expand", "Rotate"])
def test_what_needs_bitmaps_takes_geometry(name: str):
    load = dict(type="LoadInstanceAnnotations", with_bbox=True, with_mask=True)
    built = [TRANSFORMS.build(c) for c in (load, dict(type=name, **STOCK[name]))]
    check_pipeline(built)


@pytest.mark.parametrize(
    ("loader", "given", "kind"),
    [
        ("LoadInstanceAnnotations", {}, GeometryMasks),
        ("LoadInstanceAnnotations", dict(poly2mask=True), BitmapMasks),
        ("LoadInstanceAnnotations", dict(poly2mask=False), PolygonMasks),
        ("LoadKeypointAnnotations", {}, BitmapMasks),
        ("LoadKeypointAnnotations", dict(poly2mask=None), GeometryMasks),
    ],
)
def test_loaders(loader: str, given: dict, kind: type):
    if loader == "LoadKeypointAnnotations":
        given = dict(given, with_keypoints=False)
    built = TRANSFORMS.build(dict(type=loader, with_bbox=True, with_mask=True, **given))
    results = built(
        dict(
            ori_shape=(HEIGHT, WIDTH),
            img_path="photo.jpg",
            instances=[
                dict(bbox=[2, 3, 40, 50], bbox_label=0, ignore_flag=0, mask=mask)
                for mask in (
                    [[2.0, 3, 40, 3, 40, 50]],
                    dict(size=[HEIGHT, WIDTH], counts=[100, 30, HEIGHT * WIDTH - 130]),
                    [[2.0, 3, 40, 3]],
                )
            ],
        )
    )
    masks = results["gt_masks"]
    assert type(masks) is kind
    rle_is_left_out = kind is PolygonMasks
    assert results["gt_ignore_flags"].tolist() == [False, rle_is_left_out, True]
    stock = TRANSFORMS.build(
        dict(type="LoadAnnotations", with_mask=True, poly2mask=not rle_is_left_out)
    )
    expected = stock(dict(ori_shape=(HEIGHT, WIDTH), instances=results["instances"]))["gt_masks"]
    np.testing.assert_array_equal(masks.to_ndarray(), expected.to_ndarray())
    assert f"poly2mask={given.get('poly2mask', kind is BitmapMasks or None)}" in repr(built)


def test_a_code_of_another_size_is_named():
    built = TRANSFORMS.build(dict(type="LoadInstanceAnnotations", with_mask=True))
    wrong = dict(size=[WIDTH, HEIGHT], counts=[HEIGHT * WIDTH])
    instances = [dict(bbox=[2, 3, 40, 50], bbox_label=0, ignore_flag=0, mask=wrong)]
    with pytest.raises(UserError, match=r"photo\.jpg"):
        built(dict(ori_shape=(HEIGHT, WIDTH), img_path="photo.jpg", instances=instances))


def packed(kind: bool | None) -> dict:
    results = scene(kind, (0, 1, 2))
    for step in (STOCK["Resize"] | dict(type="Resize"), dict(type="PackDetInputs")):
        results = TRANSFORMS.build(copy.deepcopy(step))(results)
    return results


@pytest.mark.parametrize("head_type", [ComposedMaskHead, FCNMaskHead])
def test_heads_take_both(head_type: type):
    """Also mmdet's on our masks, and ours on mmdet's; targets of either kind are near."""
    head = head_type(num_convs=1, in_channels=4, conv_out_channels=4, num_classes=3)
    targets = []
    for kind in (None, False, True):
        instances = packed(kind)["data_samples"].gt_instances
        rois = instances.bboxes.tensor
        chosen = InstanceData(
            pos_priors=rois,
            pos_assigned_gt_inds=torch.arange(len(rois)),
            pos_gt_labels=instances.labels,
        )
        config = ConfigDict(mask_size=28)
        result = head.loss_and_target(
            head(torch.ones(len(rois), 4, 14, 14)), [chosen], [instances], config
        )
        assert result["loss_mask"]["loss_mask"].isfinite().all()
        targets.append(result["mask_targets"])
    geometry, bitmaps, polygons = targets
    assert torch.equal(geometry, polygons)
    assert (geometry == bitmaps).float().mean() > 0.96


def test_a_sample_travels_light():
    """What a worker sends besides the image."""
    results = packed(None)
    back = pickle.loads(pickle.dumps(results["data_samples"]))
    assert len(pickle.dumps(results["data_samples"])) < 20_000
    masks = back.gt_instances.masks
    assert type(masks) is GeometryMasks
    np.testing.assert_array_equal(
        masks.to_ndarray(), results["data_samples"].gt_instances.masks.to_ndarray()
    )
    kept = back.gt_instances[torch.tensor([True, False, True])]
    assert len(kept.masks) == 2 and len(InstanceData.cat([kept, kept]).masks) == 4


def test_a_batch_in_a_file_keeps_geometry():
    sample = packed(None)
    masks = sample["data_samples"].gt_instances.masks
    masks.shapes[1] = GeometryMasks(masks[[1]].to_rles(), masks.height, masks.width).shapes[0]
    masks.matrices[1] = np.eye(3)
    sample["data_samples"].gt_instances.masks = masks.pad((256, 320))
    batch = dict(inputs=[sample["inputs"]], data_samples=[sample["data_samples"]])
    plain = pack_batch(batch)
    found = unpack_batch(plain)["data_samples"][0].gt_instances.masks
    assert type(found) is GeometryMasks
    expected = sample["data_samples"].gt_instances.masks.resize((999, 777))
    np.testing.assert_array_equal(found.resize((999, 777)).to_ndarray(), expected.to_ndarray())
    state = plain["data_samples"][0]["gt_instances"]["masks"]["geometry"]
    for damaged in (
        dict(state, matrices=state["matrices"][:1]),
        dict(state, windows=[]),
        dict(state, shapes=[dict(corners=torch.zeros(3, 2), lengths=[4])] * 3),
    ):
        with pytest.raises(UserError):
            GeometryMasks.of_state(damaged, 256, 320)

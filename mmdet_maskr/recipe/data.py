"""The data part of a recipe: pipelines, loaders, oversampled classes, metrics."""

from __future__ import annotations

from typing import Any

from mmdet_maskr.datasets.formats.prepared import Reading
from mmdet_maskr.errors import UserError
from mmdet_maskr.recipe.facts import Facts
from mmdet_maskr.recipe.lines import Choice, Code
from mmdet_maskr.recipe.machine import Machine
from mmdet_maskr.recipe.model import detections_of
from mmdet_maskr.recipe.plan import FEW_IMAGES, Plan, Wishes

FLIPS = ("auto", "none", "horizontal", "vertical", "both")
IMBALANCE = 10.0  # from so much on, photos of rare classes are repeated (mayaku)
REPEATED_BELOW = 0.3  # of the photos
JITTER = (0.8, 1.25)


def metrics_of(facts: Facts) -> list[str]:
    """The metrics to compute: boxes, and masks and keypoints if the validation set has them."""
    metrics = ["bbox"]
    if facts.masks and facts.val_masks:
        metrics.append("segm")
    return metrics + ["keypoints"] * (facts.keypoints is not None)


def best_of(facts: Facts) -> str:
    """The score that selects the best checkpoint."""
    return f"coco/{metrics_of(facts)[-1]}_mAP"


def train_pipelines(facts: Facts, plan: Plan, wishes: Wishes) -> dict[str, list[Any]]:
    """Training pipelines, by their variable names in the config.

    Raises:
        UserError: copy-paste without masks.
    """
    loading = [_photo(facts), _loading(facts)]
    steps = _changes(facts, plan, wishes)
    if not wishes.copy_paste:
        return dict(train_pipeline=[*loading, *steps])
    if not facts.masks:
        raise UserError("--copy-paste needs objects with masks, and the folder has none.")
    paste = _dict(dict(type="InstanceCopyPaste", prob=0.5, max_num=10))
    why = "--copy-paste: up to ten objects of another photo, in every second one"
    return dict(loading_pipeline=loading, train_pipeline=[Choice(paste, why), *steps])


def _photo(facts: Facts) -> Any:
    if facts.bands is None:
        return dict(type="LoadImageFromFile")
    load = dict(type="LoadBands", channels=len(facts.bands.mean))
    return Choice(_dict(load), f"{' and '.join(facts.bands.types)}, with all their bits")


def _loading(facts: Facts) -> dict[str, Any]:
    loading: dict[str, Any] = dict(
        type="LoadKeypointAnnotations" if facts.keypoints else "LoadInstanceAnnotations",
        with_bbox=True,
        with_mask=bool(facts.masks),
    )
    if facts.keypoints:
        loading["poly2mask"] = None
    return loading


def _changes(facts: Facts, plan: Plan, wishes: Wishes) -> list[Any]:
    """What differs from one epoch to the next, and packing."""
    pre = "Keypoint" if facts.keypoints else ""
    resize = dict(type="RandomResize", scale=Code("scale"), ratio_range=JITTER, keep_ratio=True)
    if pre:
        resize["resize_type"] = "KeypointResize"
    steps: list[Any] = [Choice(_dict(resize), "random size, up to 25 % smaller or larger")]
    flip, why = _flip(facts, wishes, pre)
    if flip is None:
        pass
    else:
        steps.append(Choice(_dict(flip), why))
    if plan.iterations >= 300 and facts.bands is None:  # it is for colors of 8 bits
        light = dict(type="PhotoMetricDistortion")
        steps.append(Choice(_dict(light), "random light and colors"))
    return [*steps, dict(type="PackKeypointInputs" if pre else "PackDetInputs")]


def _flip(facts: Facts, wishes: Wishes, pre: str) -> tuple[dict | None, str]:
    kind = wishes.flips
    if kind not in FLIPS:
        raise UserError(f"--flips {kind}: it must be one of {', '.join(FLIPS)}.")
    why = f"--flips {kind}"
    if kind == "auto":
        if facts.keypoints and not facts.keypoints["keypoint_swaps"]:
            return None, ""
        kind = "horizontal"
        why = (
            "left and right are swapped by name"
            if facts.keypoints
            else "horizontal flips; left and right do not matter"
        )
    if kind == "none":
        return None, ""
    flip: dict[str, Any] = dict(type=f"{pre}RandomFlip", prob=0.5)
    if kind == "vertical":
        flip["direction"] = "vertical"
    if kind == "both":
        flip |= dict(prob=[0.25] * 3, direction=["horizontal", "vertical", "diagonal"])
    return flip, why


def _dict(values: dict) -> Code:
    return Code("dict(" + ", ".join(f"{key}={value!r}" for key, value in values.items()) + ")")


def test_pipeline(facts: Facts) -> list[Any]:
    """The pipeline for validation and test."""
    pre = "Keypoint" if facts.keypoints else ""
    keys = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
    return [
        _photo(facts),
        _dict(dict(type=f"{pre}Resize", scale=Code("scale"), keep_ratio=True)),
        _loading(facts),
        dict(type="PackKeypointInputs" if pre else "PackDetInputs", meta_keys=keys),
    ]


def loaders_of(
    facts: Facts,
    plan: Plan,
    machine: Machine,
    wishes: Wishes,
    reading: Reading,
    splits: list[str],
) -> dict[str, Any]:
    """Data loaders and evaluators; they refer to variables at the top of the config."""
    # 1. the folder as a dataset, and how it is split
    kind = "AnyKeypointDataset" if facts.keypoints else "AnyInstanceDataset"
    own: dict[str, Any] = dict(type=kind, data_root=Code("data_root"), metainfo=Code("metainfo"))
    if reading.kind is not None:
        own["format"] = reading.kind
    if reading.val_root is not None:
        own["val_root"] = reading.val_root
    elif reading.folds:
        own |= dict(seed=reading.seed, folds=reading.folds)
        own["fold"] = Choice(reading.fold, "fold used for validation")
    else:
        own |= dict(seed=reading.seed, val_share=reading.val_share)
    # 2. the training set: rare classes come more often, objects are pasted in
    own_pipeline = "loading_pipeline" if wishes.copy_paste else "train_pipeline"
    train = dict(own, split="train", pipeline=Code(own_pipeline))
    if facts.imbalance > IMBALANCE and facts.images >= FEW_IMAGES and len(facts.classes) > 1:
        rare = min((n, c) for c, n in facts.counts.items() if n)
        why = f"classes in fewer photos come more often, as {rare[1]} with {rare[0]} of "
        why += f"{facts.objects} objects"
        train = dict(
            type="ClassBalancedDataset", oversample_thr=Choice(REPEATED_BELOW, why),
            dataset=train,
        )  # fmt: skip
    if wishes.copy_paste:
        why = "--copy-paste: the other photo is drawn at random"
        mixed = Choice(Code("train_pipeline"), why)
        train = dict(type="MultiImageMixDataset", dataset=train, pipeline=mixed)
    # 3. loaders
    workers = min(max(machine.cores - (machine.gpu is None), 1), 8)
    why_workers = f"{machine.cores} cores"
    loading = Choice(workers, why_workers)
    tree: dict[str, Any] = dict(
        train_dataloader=dict(
            batch_size=Choice(plan.batch, _why_batch(facts, plan, machine)),
            num_workers=loading,
            persistent_workers=True,
            sampler=dict(type="InfiniteSampler", shuffle=True),
            batch_sampler=Choice(_dict(dict(type="AspectRatioBatchSampler")), "least padding"),
            dataset=train,
        ),
        val_dataloader=dict(
            batch_size=1,
            num_workers=loading,
            persistent_workers=True,
            drop_last=False,
            sampler=dict(type="DefaultSampler", shuffle=False),
            dataset=dict(own, split="val", test_mode=True, pipeline=Code("test_pipeline")),
        ),
    )
    if "test" in splits:
        tree["test_dataloader"] = dict(
            tree["val_dataloader"],
            dataset=dict(own, split="test", test_mode=True, pipeline=Code("test_pipeline")),
        )
    else:
        tree["test_dataloader"] = Choice(Code("val_dataloader"), "the folder has no test photos")
    # 4. evaluators
    tree["val_evaluator"] = dict(
        type="CocoInstanceMetric",
        ann_file=Choice("dataset", "the annotation file made from data_root"),
        metric=Choice(metrics_of(facts), "what the folder has annotations for"),
        classwise=len(facts.classes) > 1,
        max_dets=Choice(max(100, detections_of(facts)), "as many as the model returns"),
    )
    tree["test_evaluator"] = Code("val_evaluator")
    return tree


def _why_batch(facts: Facts, plan: Plan, machine: Machine) -> str:
    if plan.batch >= facts.images:
        return f"there are {facts.images} photos"
    if plan.batch < (4 if plan.small else 2):
        return "fewer than 4, for more iterations in the time"
    return "what a CPU is fast with" if machine.gpu is None else f"what fits into {machine}"

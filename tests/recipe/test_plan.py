"""The numbers of a recipe: facts of the photos, and the plan and the anchors that fit them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from recipe_cases import CPU, facts, photos, written

from mmdet_maskr.datasets.formats.prepared import prepare
from mmdet_maskr.errors import UserError
from mmdet_maskr.recipe import model
from mmdet_maskr.recipe.facts import facts_of
from mmdet_maskr.recipe.plan import (
    LEAST,
    Speed,
    Wishes,
    epochs_of,
    first_plan,
    fitted,
    slow_validation,
)
from mmdet_maskr.recipe.speed import _keep_all


def test_facts_of_a_folder(tmp_path: Path):
    found = facts_of(prepare(photos(tmp_path / "photos")))
    assert found.images + found.val_images == 12
    assert {c: found.counts[c] + found.val_counts[c] for c in found.classes} == dict(
        leaf=24, stone=2
    )
    assert (found.width, found.height, found.most_objects, found.masks) == (96, 64, 3, 1)
    assert found.size(0.5) == pytest.approx(600**0.5)
    assert found.aspects[0] == 1.5
    one = facts_of(prepare(tmp_path / "photos"), ["stone"])
    assert one.objects + sum(one.val_counts.values()) == 2
    assert one.negatives > 0


@pytest.mark.parametrize(("images", "epochs"), [(50, 30), (1000, 30), (20_000, 16), (90_000, 16)])
def test_epochs_of_mayaku(images: int, epochs: float):
    assert epochs_of(images) == pytest.approx(epochs)
    assert 16 < epochs_of(4000) < 30


def test_small_objects_get_more_pixels():
    sides = [
        first_plan(facts(sizes=np.full(100, size)), CPU, True, Wishes()).short
        for size in (10.0, 30.0, 100.0, 300.0)
    ]
    assert sides == sorted(sides, reverse=True)
    assert sides[0] == 480
    tiny = first_plan(facts(width=64.0, height=48.0), CPU, True, Wishes())
    assert tiny.short <= 96  # not more than twice the photo


@pytest.mark.parametrize("iteration", [0.01, 0.3, 2.0, 30.0])
@pytest.mark.parametrize("photo", [0.01, 1.0])
def test_a_time_budget_is_kept_as_far_as_it_can_be(iteration: float, photo: float):
    plan = first_plan(facts(), CPU, True, Wishes(minutes=2))
    found = fitted(plan, facts(), Speed(iteration, photo), 110.0, 2)
    assert found.iterations >= LEAST
    assert found.batch >= 2
    pixels = found.short * found.long / (plan.short * plan.long)
    spent = (found.evaluations + 1) * 50 * photo * pixels  # and the report
    spent += found.iterations * iteration * (0.15 + 0.85 * pixels * found.batch / plan.batch)
    assert spent <= 110 or found.iterations == LEAST
    if iteration == 0.01 and photo == 0.01:
        assert (found.batch, found.short) == (plan.batch, plan.short)
        assert found.evaluations == 10
        assert found.iterations > 5000


def test_a_long_validation_is_said_and_kept_within_the_budget():
    plan = first_plan(facts(), CPU, True, Wishes(minutes=2))
    speed = Speed(0.05, 1.0)
    found = fitted(plan, facts(), speed, 110.0, 2)
    assert found.evaluations == 1
    assert found.iterations == pytest.approx((110 - 2 * 50) / 0.05, abs=1)
    assert "1.7 of 1.8 minutes for 50 photos" in str(
        slow_validation(plan, found, facts(), speed, 110.0)
    )
    assert slow_validation(plan, found, facts(val_images=5), speed, 110.0) is None


def test_too_short_a_time_is_said():
    """Also one that reading and measuring have used up; 30 iterations are trained anyway."""
    plan = first_plan(facts(), CPU, True, Wishes(minutes=0.2))
    for seconds, left in ((30.0, "0.5"), (-3.0, "0.0")):
        found = fitted(plan, facts(), Speed(4.0, 0.1), seconds, 0.2)
        said = slow_validation(plan, found, facts(), Speed(4.0, 0.1), seconds)
        assert said is not None and said.startswith("30 iterations") and f"{left} are left" in said


def test_the_measured_model_finds_as_much_as_it_may(tmp_path: Path):
    """Its scores of 40 classes are far below the threshold; a trained one's would not be."""
    cfg = written(photos(tmp_path / "photos"), tmp_path)
    cfg.model.test_cfg.rcnn.score_thr = 0.9
    built = MODELS.build(cfg.model).eval()
    meta = dict(img_shape=(64, 96), ori_shape=(64, 96), scale_factor=(1.0, 1.0))
    image = torch.zeros(3, 64, 96, dtype=torch.uint8)
    batch = dict(inputs=[image], data_samples=[DetDataSample(metainfo=meta)])
    found = []
    for prepare_model in (lambda model: None, _keep_all):
        prepare_model(built)
        with torch.no_grad():
            found.append(len(built.val_step(batch)[0].pred_instances))
    assert found[0] == 0 < found[1] == cfg.model.test_cfg.rcnn.max_per_img
    _keep_all(torch.nn.Linear(1, 1))  # a model without RoIs


def test_slow_machines_get_fewer_pixels():
    plan = first_plan(facts(), CPU, True, Wishes(minutes=2))
    slow = fitted(plan, facts(), Speed(4.0, 0.1), 110.0, 2)
    assert (slow.batch, slow.short) == (2, 128)


def test_wishes():
    assert first_plan(facts(), CPU, True, Wishes(epochs=3)).iterations == 150
    for wrong in (dict(minutes=0), dict(epochs=-1), dict(minutes=1, epochs=1)):
        with pytest.raises(UserError, match=r"--minutes|--epochs"):
            Wishes(**wrong)


def test_anchors_cover_the_objects():
    for size in (8.0, 40.0, 150.0):
        given = facts(sizes=np.linspace(0.6, 1.6, 500) * size)
        plan = first_plan(given, CPU, True, Wishes())
        tree = model.model_of(given, plan)
        generator = tree["rpn_head"]["anchor_generator"]
        scale, strides = generator["scales"].value[0], generator["strides"].value
        assert tree["neck"]["num_outs"].value == len(strides)
        factor = plan.short / 480
        assert scale * strides[0] <= max(8.0, 1.5 * given.size(0.1) * factor)
        assert scale * strides[-1] >= 0.6 * given.size(0.9) * factor
    few = model.model_of(facts(counts=dict(leaf=20), sizes=np.full(20, 9.0)), plan)
    assert few["rpn_head"]["anchor_generator"]["scales"].value == [4]


def test_thin_objects_get_thin_anchors():
    plan = first_plan(facts(), CPU, True, Wishes())
    thin = model.model_of(facts(aspects=np.geomspace(0.1, 8, 500)), plan)
    ratios = thin["rpn_head"]["anchor_generator"]["ratios"].value
    assert ratios[0] < 0.3
    assert ratios[-1] > 3


@pytest.mark.parametrize(("most", "kept"), [(1, 30), (40, 60), (200, 300), (5000, 1000)])
def test_detections_for_all_objects(most: int, kept: int):
    assert model.detections_of(facts(most_objects=most)) == kept

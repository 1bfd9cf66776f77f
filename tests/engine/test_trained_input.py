"""Weights go to a model that is given the pixels that they were trained on, or are refused."""

from __future__ import annotations

import pytest
from mmengine.config import Config

from mmdet_maskr.engine.trained_input import KEY, check_input, input_of
from mmdet_maskr.errors import UserError

DETECTRON2 = dict(order="BGR", mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], style="caffe")
IMAGENET = dict(order="RGB", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375],
                style="pytorch")  # fmt: skip


def model_of(name: str) -> Config:
    return Config.fromfile(f"configs/{name}.py").model


def trained(described: dict) -> dict:
    return dict(state_dict={}, meta={KEY: described})


def test_what_configs_give():
    assert input_of(model_of("maskr_r50-caffe_fpn_ms-3x")) == DETECTRON2
    assert input_of(model_of("maskr_r50_fpn_1x")) == IMAGENET
    assert "style" not in input_of(model_of("maskr_r18_fpn_1x"))  # it has no bottlenecks
    assert "style" not in input_of(model_of("maskr_swin-t_fpn_1x"))
    unit = dict(type="UnitRangePreprocessor", mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
    found = input_of(dict(data_preprocessor=dict(unit, bgr_to_rgb=True)))
    assert found == {name: IMAGENET[name] for name in ("order", "mean", "std")}
    augmented = dict(type="InstanceTTAModel", module=model_of("maskr_r50_fpn_1x"))
    assert input_of(augmented) == IMAGENET


def test_the_right_model_is_taken():
    check_input(model_of("maskr_r50-caffe_fpn_ms-3x"), trained(DETECTRON2), "weights")
    rounded = dict(IMAGENET, mean=[123.7, 116.3, 103.5])
    check_input(model_of("maskr_r50_fpn_1x"), trained(rounded), "weights")
    check_input(model_of("maskr_r50_fpn_1x"), dict(meta={}), "weights")  # a training's own
    bands = dict(type="BandsDataPreprocessor", mean=[1.0] * 5, std=[1.0] * 5)
    model = dict(model_of("maskr_r50-caffe_fpn_1x"), data_preprocessor=bands)
    check_input(model, trained(DETECTRON2), "weights")  # the stem's shape tells


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (dict(order="RGB"), "bgr_to_rgb=True"),
        (dict(std=[57.375, 57.12, 58.395]), "std=[57.375, 57.12, 58.395]"),
        (dict(mean=[0.0, 0.0, 0.0]), "mean=[0.0, 0.0, 0.0]"),
        (dict(style="pytorch"), "model.backbone.style='pytorch'"),
    ],
)
def test_one_thing_that_differs(change: dict, named: str):
    model = model_of("maskr_r50-caffe_fpn_1x")
    with pytest.raises(UserError) as caught:
        check_input(model, trained({**DETECTRON2, **change}), "weights")
    text = str(caught.value)
    assert named in text and ("data_preprocessor" in text) == ("style" not in change)


def test_what_the_error_says_to_set_is_right():
    """The lines of the message, run on the config, and res5's of a C4 body as well."""
    model = model_of("maskr_r50_c4_1x")
    with pytest.raises(UserError) as caught:
        check_input(model, trained(DETECTRON2), "weights")
    lines = str(caught.value).partition("Set ")[2].partition(", or use")[0].split(" and ")
    assert len(lines) == 3
    for line in lines:
        exec(line, dict(model=model))
    check_input(model, trained(DETECTRON2), "weights")
    assert model.roi_head.shared_head.style == "caffe"

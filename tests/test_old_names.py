"""Former names of parts build and import the part, and say what it is called now."""

from __future__ import annotations

import importlib
import inspect
import warnings

import pytest
from mmdet.registry import HOOKS, MODELS

import mmdet_maskr.engine
import mmdet_maskr.models
from mmdet_maskr import old_names
from mmdet_maskr.engine import DatasetFitHook
from mmdet_maskr.models.roi_extractors import LevelRoIExtractor

EXTRACTOR = dict(
    type="FPNRoIExtractor", roi_layer=dict(type="RoIAlign", output_size=7),
    out_channels=8, featmap_strides=[4, 8],
)  # fmt: skip


def test_a_config_with_a_former_name():
    with pytest.warns(FutureWarning, match="LevelRoIExtractor"):
        part = MODELS.build(EXTRACTOR)
    assert type(part) is LevelRoIExtractor and part.featmap_strides == [4, 8]
    former = MODELS.get("FPNRoIExtractor")
    assert inspect.signature(former) == inspect.signature(LevelRoIExtractor)
    assert issubclass(former, LevelRoIExtractor)


@pytest.mark.parametrize("old", old_names.NEW_NAMES)
def test_imports_by_former_names(old: str):
    new = old_names.NEW_NAMES[old]
    (place,) = [m for m in (mmdet_maskr.models, mmdet_maskr.engine) if new in m.__all__]
    part = getattr(place, new)
    for module in {place, importlib.import_module(part.__module__.rpartition(".")[0])}:
        with pytest.warns(FutureWarning, match=new):
            assert getattr(module, old) is part


def test_a_hook_with_a_former_name():
    with pytest.warns(FutureWarning, match="DatasetFitHook"):
        assert type(HOOKS.build(dict(type="ClassCountCheckHook"))) is DatasetFitHook
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        HOOKS.build(dict(type="DatasetFitHook"))


def test_what_derives_from_a_former_name():
    class Mine(MODELS.get("FPNRoIExtractor")):
        pass

    options = {name: value for name, value in EXTRACTOR.items() if name != "type"}
    with pytest.warns(FutureWarning):
        assert isinstance(Mine(**options), Mine)


def test_other_names_are_unknown():
    for module in (mmdet_maskr.models, importlib.import_module("mmdet_maskr.models.dense_heads")):
        with pytest.raises(AttributeError):
            module.FPNRoIExtractors  # noqa: B018
    with pytest.raises(AttributeError):
        importlib.import_module("mmdet_maskr.models.dense_heads").FPNRoIExtractor  # noqa: B018

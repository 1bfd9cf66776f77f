"""Former names of parts build and import the part, and say what it is called now."""

from __future__ import annotations

import importlib
import inspect

import pytest
from mmdet.registry import MODELS

import mmdet_maskr
from mmdet_maskr.models import old_names
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
    new = getattr(mmdet_maskr.models, old_names.NEW_NAMES[old])
    for module in (mmdet_maskr.models, importlib.import_module(new.__module__.rpartition(".")[0])):
        with pytest.warns(FutureWarning, match=new.__name__):
            assert getattr(module, old) is new


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

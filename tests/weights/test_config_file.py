"""Configs as differences from their base, written and read again."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

from mmdet_maskr.safe_configs import read_literals
from mmdet_maskr.weights.config_file import (
    WIDTH,
    Name,
    comment,
    difference,
    same,
    source_of,
    write_settings,
)

BASE = dict(
    model=dict(type="A", head=dict(type="B", channels=256, scales=[8], norm=None), sizes=(1, 2)),
    runs=[dict(type="R", n=1)],
    flag=True,
)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["model"]["head"].update(channels=32),
        lambda c: c["model"]["head"].update(type="C", depth=3),
        lambda c: c["model"]["head"].pop("scales"),
        lambda c: c["model"].update(head=None),
        lambda c: c["model"]["head"].update(norm=dict(type="BN")),
        lambda c: c.update(runs=[], flag=1),
        lambda c: c.update(new=dict(a=[dict(b=(1,), c=["x" * 30] * 5), 2])),
        lambda c: c["model"].update(sizes=[1, 2]),
        lambda c: None,
    ],
)
def test_a_config_says_what_it_should(tmp_path: Path, change):
    wanted = Config(BASE)._cfg_dict.to_dict()
    change(wanted)
    (tmp_path / "base.py").write_text(write_settings(BASE), encoding="utf-8")
    text = write_settings(dict(_base_="base.py", **difference(BASE, wanted)))
    (tmp_path / "config.py").write_text(text, encoding="utf-8")
    read = Config.fromfile(tmp_path / "config.py")._cfg_dict.to_dict()
    assert same({k: read[k] for k in wanted}, wanted)


def test_only_what_differs():
    wanted = dict(BASE, model=dict(BASE["model"], head=dict(BASE["model"]["head"], channels=1)))
    assert difference(BASE, wanted) == dict(model=dict(head=dict(channels=1)))


def test_layout():
    """dict(...) as in this repository, at most 100 columns, other settings by their names."""
    value = dict(type="X", numbers=list(range(60)), inner=dict(name=Name("pipeline"), empty=()))
    text = write_settings(dict(setting=value))
    assert text.startswith("setting = dict(\n    type='X',\n    numbers=[")
    assert len(text.splitlines()) < 12  # not a line for each number
    assert "inner=dict(name=pipeline, empty=()))" in text
    assert max(map(len, text.splitlines())) <= WIDTH
    assert source_of((1,)) == "(1,)" and source_of(True) == "True"
    assert eval(text.removeprefix("setting = ").replace("pipeline", "'p'"))["numbers"][59] == 59


def test_same():
    assert same([1, (2, 3)], (1, [2, 3])) and same(1, 1.0)
    assert not same(1, True) and not same(None, False) and not same([1], [1, 2])


@pytest.mark.parametrize(
    "value",
    [
        ("x" * 120,),
        (("x" * 60, "y" * 60),),
        ("line\n__import__('os').abort()\n#",),
        "quote'\"\\ and {{ fileDirname }} {{$HOME:'x'}}",
        {"a b": 1, "class": 2, 3: [4], "'": dict(x=float("inf"))},
        dict(names=["n" * 90] * 3, inner={"x y": "z" * 100}),
        (-float("inf"), 1e-8, -0.0, None, True, b"bytes"),
    ],
)
def test_any_value_is_read_back_as_it_was(tmp_path: Path, value):
    """By mmengine, which substitutes variables first, and as literals."""
    text = comment("a\nimport os\rx {{ fileDirname }}") + write_settings(dict(setting=value))
    assert text.count("\n#") == 0 and text.startswith("# ")
    (tmp_path / "config.py").write_text(text, encoding="utf-8")
    read = Config.fromfile(tmp_path / "config.py")._cfg_dict.to_dict()
    assert list(read) == ["setting"] and read["setting"] == value
    assert read_literals(text, "it") == dict(setting=value)

"""Models of a comparison: how they are named, and what does not load."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from small_models import write_model

from mmdet_maskr.catalogue import config_path
from mmdet_maskr.compare.models import load_model, read_sources
from mmdet_maskr.errors import UserError


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name in ("a.py", "b.py", "one/epoch_1.pth", "two/epoch_1.pth", "two/epoch_2.pth"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        (["a.py:one/epoch_1.pth", "b.py:one/epoch_1.pth"], ["a", "b"]),
        (["a.py:two/epoch_1.pth", "a.py:two/epoch_2.pth"], ["a epoch_1", "a epoch_2"]),
        (["a.py:one/epoch_1.pth", "a.py:two/epoch_1.pth"], ["one/epoch_1", "two/epoch_1"]),
        (["my model=a.py:one/epoch_1.pth", "a.py:two/epoch_2.pth"], ["my model", "a"]),
        (["a=b.py:one/epoch_1.pth", "a.py:two/epoch_2.pth"], ["a", "a epoch_2"]),
    ],
)
def test_names(files: Path, monkeypatch: pytest.MonkeyPatch, texts: list[str], names: list[str]):
    monkeypatch.chdir(files)
    sources = read_sources(texts)
    assert [source.name for source in sources] == names
    for source, text in zip(sources, texts, strict=True):
        assert f"{source.config}:{source.weights}" == text.split("=")[-1]


def test_addresses_and_equal_signs_in_folders(files: Path):
    (files / "lr=1").mkdir()
    (files / "lr=1" / "a.py").write_text("")
    [source] = read_sources([f"{files}/lr=1/a.py:https://host/model.pth"])
    assert source == ("a", f"{files}/lr=1/a.py", "https://host/model.pth")


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a.py"], r"--models a\.py: write CONFIG\.py:WEIGHTS\.pth or NAME="),
        (["c.py:one/epoch_1.pth"], r"there is no config file c\.py"),
        (["a.py:three.pth"], r"there is no weights file three\.pth"),
        (["x=a.py:one/epoch_1.pth", "x=b.py:one/epoch_1.pth"], r"the name 'x' twice"),
        (["a.py:one/epoch_1.pth", "a.py:one/epoch_1.pth"], r"called 'one/epoch_1'"),
    ],
)
def test_bad_names(files: Path, monkeypatch: pytest.MonkeyPatch, texts: list[str], message: str):
    monkeypatch.chdir(files)
    with pytest.raises(UserError, match=message):
        read_sources(texts)


def test_what_is_known_of_a_model(tmp_path: Path):
    [source] = read_sources([write_model(tmp_path, "model", seed=0)])
    model = load_model(source, "cpu")
    expected = sum(p.numel() for p in model.inferencer.model.parameters())
    assert model.parameters == expected
    assert model.operations > 1e9 and model.published is None
    assert model.colors[0] == tuple(model.meta["palette"][0])


def test_weights_of_another_model(tmp_path: Path):
    """mmengine would log them and go on with random ones."""
    source = read_sources([write_model(tmp_path, "model", seed=0, keypoints=False)])[0]
    state = torch.load(source.weights)
    name = "roi_head.mask_head.tower.convs.0.conv.weight"
    name = name if name in state["state_dict"] else sorted(state["state_dict"])[-1]
    kept = state["state_dict"].pop(name)
    torch.save(state, source.weights)
    with pytest.raises(UserError, match=rf"model\.py does not fit: .* 1 missing \({name}\)"):
        load_model(source, "cpu")
    state["state_dict"][name] = kept[..., None]
    torch.save(state, source.weights)
    with pytest.raises(UserError, match=rf"1 of another shape \({name}: "):
        load_model(source, "cpu")


def test_configs_that_cannot_say_enough(tmp_path: Path):
    [source] = read_sources([write_model(tmp_path, "model", seed=0, keypoints=False)])
    cfg = Config.fromfile(source.config)
    cfg.test_dataloader.dataset = dict(type="BaseDetDataset", pipeline=[])
    cfg.test_dataloader.dataset.pipeline = Config.fromfile(
        config_path("mini/maskr_shapes")
    ).test_dataloader.dataset.pipeline
    cfg.dump(source.config)
    with pytest.raises(UserError, match=r"neither .*model\.pth nor .*model\.py has class names"):
        load_model(source, "cpu")
    cfg.pop("test_dataloader")
    cfg.dump(source.config)
    with pytest.raises(UserError, match=r"model\.py has no test_dataloader\.dataset\.pipeline"):
        load_model(source, "cpu")

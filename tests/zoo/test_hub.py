"""Releases on the hub: the real client library against a stand-in of the hub on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from local_hub import TOKEN, Hub, commit_of
from mmengine.config import Config

from mmdet_maskr.errors import UserError
from mmdet_maskr.zoo import hub, release, resolve
from mmdet_maskr.zoo.resolve import load_checkpoint

constants = pytest.importorskip("huggingface_hub.constants")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    made = Hub()
    monkeypatch.setenv("HF_ENDPOINT", made.url)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.setattr(constants, name, str(tmp_path / "hub_cache"), raising=False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True, raising=False)
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A release of a model that need not run."""
    cfg = Config(dict(
        model=dict(type="MaskRCNN", backbone=dict(type="ResNet", depth=18)),
        test_dataloader=dict(dataset=dict(type="CocoDataset")),
    ))  # fmt: skip
    made = release.Release(
        "pets", dict(a=torch.arange(1000.0)), cfg, dict(classes=("cat", "dog")),
        {"mask AP": 40.0}, "mit", "A test.",
    )  # fmt: skip
    return release.write(made, tmp_path / "release")


def test_push_and_load(server: Hub, folder: Path):
    (folder / "notes.txt").write_text("not of the release")
    where = hub.push(folder, "hf://me/pets")
    files = server.repos["me/pets"]["main"]
    assert where == f"{server.url}/me/pets/commit/{commit_of(files)}"
    assert set(files) == set(release.FILES)
    local = resolve("hf://me/pets")
    for path in release.FILES:
        assert (Path(local.config).parent / path).read_bytes() == (folder / path).read_bytes()
    assert "pets of hf://me/pets (mask AP 40.0; mit)" == local.title
    loaded = load_checkpoint("hf://me/pets", "cpu")
    assert torch.equal(loaded["state_dict"]["a"], torch.arange(1000.0))
    hub.push(folder, "hf://me/pets")  # again


def test_revisions(server: Hub, folder: Path):
    hub.push(folder, "hf://me/pets")
    first = commit_of(server.repos["me/pets"]["main"])
    hub.push(folder, "hf://me/pets@v2")
    server.repos["me/pets"]["main"] = {}
    for revision in (first, "v2"):
        assert Path(resolve(f"hf://me/pets@{revision}").weights).is_file()
    with pytest.raises(UserError, match=r"hf://me/pets has no config\.py"):
        resolve("hf://me/pets")
    with pytest.raises(UserError, match="hf://me/pets@v3 cannot be downloaded"):
        resolve("hf://me/pets@v3")


def test_what_is_kept_needs_no_connection(server: Hub, folder: Path):
    hub.push(folder, "hf://me/pets")
    local = resolve("hf://me/pets")
    server.close()
    assert resolve("hf://me/pets") == local
    with pytest.raises(UserError, match="hf://me/dogs cannot be downloaded"):
        resolve("hf://me/dogs")


def test_without_permission(server: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    with pytest.raises(UserError, match="HF_TOKEN logs you in"):
        hub.push(folder, "hf://me/pets")
    assert not server.repos


def test_a_program_on_the_hub_is_not_run(server: Hub, folder: Path, tmp_path: Path):
    hub.push(folder, "hf://me/pets")
    files = server.repos["me/pets"]["main"]
    evil = f"import os\nos.mkdir({str(tmp_path / 'evil')!r})\n"
    files["config.py"] = evil.encode()
    del files["config.py.sha256"]
    with pytest.raises(UserError, match="would have to be executed"):
        resolve("hf://me/pets")
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    "text", ["hf://", "hf://pets", "hf://me/pets/more", "hf://me/pets@", "hf://a b/c"]
)
def test_other_forms(text: str):
    with pytest.raises(UserError, match="write hf://org/name"):
        resolve(text)

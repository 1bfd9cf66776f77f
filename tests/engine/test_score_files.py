"""A test's scores, at any clock of earlier ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mmdet_maskr.engine.score_files import remove_score_files, score_file
from mmdet_maskr.errors import UserError


def leave(work_dir: Path, name: str, age: float = 0) -> Path:
    file = work_dir / name / f"{name}.json"
    file.parent.mkdir(parents=True)
    file.write_text("{}")
    os.utime(file, (file.stat().st_mtime - age,) * 2)
    return file


@pytest.mark.parametrize("now", ["20200101_000000", "20300101_000000"])
def test_clocks_do_not_count(tmp_path: Path, now: str):
    with pytest.raises(UserError, match="no scores"):
        score_file(tmp_path / "test")
    leave(tmp_path / "test", "20250101_000000", age=-1e6)  # in the future
    (tmp_path / "test" / "predictions.segm.json").write_text("[]")
    remove_score_files(tmp_path / "test")
    file = leave(tmp_path / "test", now, age=1e6)
    assert score_file(tmp_path / "test") == file
    assert (tmp_path / "test" / "predictions.segm.json").is_file()
    leave(tmp_path / "test", "20260101_000000")
    with pytest.raises(UserError, match="at the same time"):
        score_file(tmp_path / "test")

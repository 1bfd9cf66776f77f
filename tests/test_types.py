"""The package's type hints hold together, and travel with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def mypy(*args: str, folder: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "mypy", *args]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="NumPy's hints for 3.10 are older")
def test_mypy_passes(repo: Path):
    pytest.importorskip("mypy")
    result = mypy("mmdet_maskr", folder=repo)
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-1000:]


def test_hints_are_found_by_others(repo: Path, tmp_path: Path):
    """Code that uses the package wrongly is refused, as ``py.typed`` says that there are hints."""
    pytest.importorskip("mypy")
    assert (repo / "mmdet_maskr" / "py.typed").is_file()
    (tmp_path / "used.py").write_text(
        "from mmdet_maskr.coco.reader import read_annotations\nread_annotations(3)\n"
    )
    result = mypy(
        "--config-file", str(repo / "pyproject.toml"), str(tmp_path / "used.py"), folder=repo
    )
    assert result.returncode == 1 and 'has incompatible type "int"' in result.stdout, result.stdout

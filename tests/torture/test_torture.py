"""The shortened torture: a few kills. The long one is `bash tools/torture.sh`."""

from __future__ import annotations

from pathlib import Path

import pytest
from torture import torture


@pytest.mark.slow
def test_a_few_kills(tmp_path: Path, shapes_root: Path):
    ends = torture(shapes_root, tmp_path, "epochs", kills=4, seed=1, say=print)
    assert ends.total() >= 4

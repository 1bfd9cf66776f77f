"""A small dataset for the tests of the metric."""

from __future__ import annotations

from pathlib import Path

import pytest
from metric_cases import write_tiny


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny(tmp_path)

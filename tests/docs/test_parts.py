"""The page of parts lists what the package registers."""

from __future__ import annotations

import re
from pathlib import Path

import mmdet.registry
from mmengine.registry import Registry

from mmdet_maskr import old_names


def test_every_registered_part_is_listed_once(repo: Path):
    """In the first column, and nothing else is there."""
    registries = [r for r in vars(mmdet.registry).values() if isinstance(r, Registry)]
    for registry in registries:
        registry.import_from_location()
    ours = [
        name
        for registry in registries
        for name, part in registry.module_dict.items()
        if part.__module__.startswith("mmdet_maskr.") and name not in old_names.NEW_NAMES
    ]
    page = (repo / "docs" / "parts.md").read_text(encoding="utf-8")
    first = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    assert sorted(re.findall(r"`(\w+)`", " ".join(first))) == sorted(ours)
    assert len(ours) > 40

"""Parts are registered when a registry is first asked, next to mmdet's; the import is light."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import mmdet.registry
from mmengine.registry import Registry

from mmdet_maskr import registration

LIGHT = """
import sys
import mmdet_maskr
heavy = [m for m in sys.modules if m in ("mmdet.models", "mmengine.runner", "matplotlib.pyplot")]
assert heavy == [], heavy
assert not [m for m in sys.modules if m.startswith(tuple(f"mmdet_maskr.{f}" for f in (
    "models", "datasets", "engine", "evaluation", "visualization")))]
from mmengine.registry import HOOKS, MODELS, RUNNERS
assert MODELS.get("mmdet.ParallelRoIHead").__module__.startswith("mmdet_maskr.models")
assert RUNNERS.get("mmdet.DurableRunner") and HOOKS.get("mmdet.LossGuardHook")
assert mmdet_maskr.models.ParallelRoIHead is MODELS.get("mmdet.ParallelRoIHead")
"""
LATE = """
from mmdet.registry import MODELS
assert MODELS.get("MaskRCNN") is not None and MODELS.get("ParallelRoIHead") is None
import mmdet_maskr
assert MODELS.get("ParallelRoIHead") is not None
"""


def run(code: str, repo: Path, tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(repo)}
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_import_is_light(repo: Path, tmp_path: Path):
    run(LIGHT, repo, tmp_path)


def test_registry_that_was_asked_before(repo: Path, tmp_path: Path):
    run(LATE, repo, tmp_path)


def test_every_part_is_where_its_registry_looks():
    for name, registry in vars(mmdet.registry).items():
        if not isinstance(registry, Registry):
            continue
        registry.import_from_location()
        for part in registry.module_dict.values():
            package, _, rest = part.__module__.partition(".")
            if package == "mmdet_maskr":
                assert name in registration.PARTS[rest.partition(".")[0]], (name, part)

"""Parts are registered when a registry is first asked, beside mmdet's; the import is light."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import warnings
from pathlib import Path

import mmdet.registry
import pytest
from mmdet.registry import HOOKS
from mmengine.registry import Registry

import mmdet_maskr
from mmdet_maskr import registration
from mmdet_maskr.engine import DatasetFitHook

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


def test_an_old_name_still_builds_and_warns():
    old = HOOKS.get("ClassCountCheckHook")
    assert old is not DatasetFitHook and issubclass(old, DatasetFitHook)
    assert old is mmdet_maskr.engine.ClassCountCheckHook
    with pytest.warns(FutureWarning, match="DatasetFitHook"):
        assert isinstance(HOOKS.build(dict(type="ClassCountCheckHook")), DatasetFitHook)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        HOOKS.build(dict(type="DatasetFitHook"))


def test_an_old_name_takes_the_same_options():
    registry = Registry("sizes")

    @registry.register_module()
    class New:
        def __init__(self, size: int = 1) -> None:
            self.size = size

    old = registration.keep_old_name(registry, "Old", New)
    assert inspect.signature(old) == inspect.signature(New)
    with pytest.warns(FutureWarning):
        assert registry.build(dict(type="Old", size=3)).size == 3

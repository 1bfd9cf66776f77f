"""A built wheel carries the configs, and works outside of the repository."""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

BUILD = """
import os, sys
from setuptools import build_meta
os.chdir(sys.argv[1])
print(build_meta.build_wheel(sys.argv[2]))
"""
INFER = """
import json, sys
import numpy as np
import mmdet_maskr
from mmdet.apis import DetInferencer
from mmdet_maskr.catalogue import config_path, config_paths
inferencer = DetInferencer(model=config_path("mini/maskr_shapes"), device="cpu")
result = inferencer(np.zeros((64, 64, 3), np.uint8), no_save_vis=True, return_datasamples=False)
keys = sorted(result["predictions"][0])
print("RESULT", json.dumps([mmdet_maskr.__file__, len(config_paths()), keys]))
"""
RENDER = """
import json
from mmdet_maskr.compare import page
print("RESULT", json.dumps([page.__file__, page.render(dict(title="<b>"))]))
"""


def run(code: str, *args: str, **options) -> str:
    command = [sys.executable, "-c", code, *args]
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, repo: Path) -> Path:
    """The wheel's content, unpacked into a folder of its own."""
    source = tmp_path_factory.mktemp("source")
    names = subprocess.run(
        ["git", "-C", str(repo), "ls-files", "-co", "--exclude-standard"],
        capture_output=True, text=True,
    )  # fmt: skip
    if names.returncode != 0:
        pytest.skip("needs a git checkout, to know which files belong to the source")
    for name in names.stdout.splitlines():
        if (repo / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((repo / name).read_bytes())
    wheels = tmp_path_factory.mktemp("wheels")
    run(BUILD, str(source), str(wheels))
    target = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(next(wheels.glob("*.whl"))) as wheel:
        wheel.extractall(target)
    return target


def test_configs_and_tools_are_in_the_wheel(installed: Path, repo: Path):
    mim = installed / "mmdet_maskr" / ".mim"
    for folder in ("configs", "tools"):
        ours = {p.relative_to(repo) for p in (repo / folder).rglob("*.py")}
        assert {p.relative_to(mim) for p in (mim / folder).rglob("*.py")} == ours
    assert (mim / "model-index.yml").read_bytes() == (repo / "model-index.yml").read_bytes()
    assert (mim / "configs" / "metafile.yml").is_file()
    assert not any(p.is_symlink() for p in mim.rglob("*"))


def test_ops_in_python_are_installed_into_mmcv(installed: Path):
    """By the wheel, whose list of files has it, so that pip removes it again."""
    ours = (installed / "mmdet_maskr" / "ops" / "mmcv_ext" / "module.py").read_bytes()
    assert (installed / "mmcv" / "_ext.py").read_bytes() == ours
    assert [p.name for p in (installed / "mmcv").iterdir()] == ["_ext.py"]
    (record,) = installed.glob("mmdet_maskr-*.dist-info/RECORD")
    assert "mmcv/_ext.py,sha256=" in record.read_text()


def test_editable_wheel_has_them_too(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(repo / "tools"))
    backend = importlib.import_module("_build_backend")
    wheel = tmp_path / "a-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("a-1.dist-info/RECORD", "a-1.dist-info/RECORD,,\n")
        file.writestr("a.pth", "/somewhere")
    monkeypatch.setattr(backend.build_meta, "build_editable", lambda *args: wheel.name)
    assert backend.build_editable(str(tmp_path)) == wheel.name
    content = (repo / "mmdet_maskr" / "ops" / "mmcv_ext" / "module.py").read_bytes()
    with zipfile.ZipFile(wheel) as file:
        assert file.read("mmcv/_ext.py") == content and file.read("a.pth") == b"/somewhere"
        lines = file.read("a-1.dist-info/RECORD").decode().splitlines()
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    assert lines == ["a-1.dist-info/RECORD,,", f"mmcv/_ext.py,sha256={digest},{len(content)}"]


def test_one_wheel_brings_everything(installed: Path):
    """For every platform; pip needs no other command and no order."""
    (metadata,) = installed.glob("mmdet_maskr-*.dist-info/METADATA")
    required = {
        re.match(r"[\w-]+", line.removeprefix("Requires-Dist: ")).group()
        for line in metadata.read_text().splitlines()
        if line.startswith("Requires-Dist: ") and "extra ==" not in line
    }
    assert {"torch", "mmengine", "mmcv-lite", "mmdet", "opencv-python", "pycocotools"} <= required
    assert "mmcv" not in required
    wheel = metadata.with_name("WHEEL").read_text()
    assert "Root-Is-Purelib: true" in wheel and "Tag: py3-none-any" in wheel


def test_inferencer_builds_one_outside_of_the_repository(installed: Path, tmp_path: Path):
    env = {**os.environ, "PYTHONPATH": str(installed)}
    output = run(INFER, cwd=tmp_path, env=env)
    path, count, keys = json.loads(output.split("RESULT", 1)[1])
    assert path == str(installed / "mmdet_maskr" / "__init__.py")
    assert count >= 45 and keys == ["bboxes", "labels", "masks", "scores"]


def test_page_of_comparisons_is_in_the_wheel(installed: Path, tmp_path: Path):
    """HTML, style and scripts lie next to the module that joins them."""
    env = {**os.environ, "PYTHONPATH": str(installed)}
    output = run(RENDER, cwd=tmp_path, env=env)
    path, page = json.loads(output.split("RESULT", 1)[1])
    assert path.startswith(str(installed))
    for part in ("<!doctype html>", ":root {", "class Drawing {", "function compare(", "&lt;b&gt;"):
        assert part in page


def test_the_command_is_in_the_wheel(installed: Path, tmp_path: Path):
    """pip makes ``maskr`` of the entry point; it works in any folder, with the wheel's configs."""
    (entries,) = installed.glob("mmdet_maskr-*.dist-info/entry_points.txt")
    assert "maskr = maskr:main" in entries.read_text()
    env = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-m", "maskr", "zoo", "mini/maskr_shapes", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "mini/maskr_shapes" in [row["name"] for row in json.loads(done.stdout)]

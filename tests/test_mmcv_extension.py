"""``mmcv._ext`` in Python: there whoever imports first, and never before a compiled one."""

from __future__ import annotations

import importlib.machinery
import os
import shutil
import subprocess
import sys
import types
import warnings
from pathlib import Path

import mmcv
import pytest
import torch

from mmdet_maskr import mmcv_extension
from mmdet_maskr.errors import UserError
from mmdet_maskr.ops import mmcv_ext
from mmdet_maskr.ops.mmcv_ext import elsewhere, info, module

COMMAND = "python tools/install_mmcv.py"


@pytest.fixture
def bare_mmcv(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A MMCV without an extension, in place of the real one."""
    package = types.ModuleType("mmcv")
    package.__path__ = []
    monkeypatch.setitem(sys.modules, "mmcv", package)
    monkeypatch.delitem(sys.modules, "mmcv._ext", raising=False)
    return package


def test_missing_extension_is_put_in_place(bare_mmcv: types.ModuleType):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mmcv_extension.ensure(COMMAND)
    assert not mmcv_extension.is_compiled()
    assert bare_mmcv._ext is sys.modules["mmcv._ext"]
    assert bare_mmcv._ext.get_compiling_cuda_version() == "not available"


def test_extension_that_does_not_fit_gives_way(
    bare_mmcv: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """As one of another torch, which fails with an undefined symbol."""
    (tmp_path / "_ext.py").write_text("raise ImportError('undefined symbol: _ZN2at4_ops5zeros')\n")
    bare_mmcv.__path__ = [str(tmp_path)]
    with pytest.warns(UserWarning, match=rf"undefined symbol: .*{COMMAND}"):
        mmcv_extension.ensure(COMMAND)
    assert not mmcv_extension.is_compiled()


def test_what_a_compiled_extension_lacks_is_not_hidden(bare_mmcv: types.ModuleType, tmp_path: Path):
    (tmp_path / "_ext.py").write_text("import a_library_that_is_not_there\n")
    bare_mmcv.__path__ = [str(tmp_path)]
    with pytest.raises(ModuleNotFoundError, match="a_library_that_is_not_there"):
        mmcv_extension.ensure(COMMAND)


def test_compiled_extension_takes_precedence(tmp_path: Path):
    """In one folder, Python looks for extension modules before sources."""
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    find = importlib.machinery.PathFinder.find_spec
    shutil.copy(mmcv_extension.SOURCE, tmp_path / "_ext.py")
    assert find("_ext", [str(tmp_path)]).origin.endswith("_ext.py")
    (tmp_path / f"_ext{suffix}").touch()
    importlib.invalidate_caches()
    assert find("_ext", [str(tmp_path)]).origin.endswith(suffix)


def test_ops_without_a_version_in_python_say_so():
    with pytest.raises(UserError) as info:
        mmcv_ext.find("carafe_forward")
    message = str(info.value)
    assert "carafe_forward" in message and "mmcv.ops.carafe" in message
    assert "install_mmcv.py" in message


def test_every_op_of_the_table_is_there():
    for name in mmcv_ext._PLACES:
        assert callable(mmcv_ext.find(name))


def test_attributes_of_the_module():
    """Names of ops are functions; the import system's questions are answered as by any module."""
    assert callable(module.roi_align_forward) and module.get_compiler_version() == (
        info.get_compiler_version()
    )
    assert not hasattr(module, "__path__")


@pytest.mark.parametrize(
    ("versions", "half", "expected"),
    [
        ({"mmcv": "2.2.0", "mmcv-lite": "2.1.0"}, False, "over each other"),
        ({"mmcv": "2.1.0", "mmcv-lite": "2.1.0"}, False, None),
        ({"mmcv-lite": "2.1.0"}, False, None),
        ({"mmcv": "2.1.0"}, True, "no __init__.py"),
        ({}, True, None),
    ],
)
def test_folder_of_two_owners(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    versions: dict[str, str],
    half: bool,
    expected: str | None,
):
    """pip installs mmcv and mmcv-lite into one folder; uninstalling one takes the other's files."""

    def version(name: str) -> str:
        if name not in versions:
            raise mmcv_extension.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(mmcv_extension.metadata, "version", version)
    if half:
        spec = types.SimpleNamespace(origin=None, submodule_search_locations=[str(tmp_path)])
        monkeypatch.setattr(mmcv_extension.importlib.util, "find_spec", lambda name: spec)
    if expected is None:
        mmcv_extension.check_folder("pip install mmcv-lite")
        return
    with pytest.raises(ImportError, match=rf"{expected}.*`pip install mmcv-lite`"):
        mmcv_extension.check_folder("pip install mmcv-lite")


WHO_IMPORTS_FIRST = """
import sys
import torch
from mmcv.ops import nms
assert "mmdet_maskr" not in sys.modules
boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 8], [20, 20, 29, 29]])
print(nms(boxes, torch.tensor([0.5, 0.9, 0.7]), 0.5)[1].tolist())
"""


def test_others_may_import_first(repo: Path, tmp_path: Path):
    """mmcv with our file in its folder serves who never heard of this package."""
    package = tmp_path / "mmcv"
    ignored = shutil.ignore_patterns("_ext*", "__pycache__", "csrc")
    shutil.copytree(Path(mmcv.__file__).parent, package, ignore=ignored)
    shutil.copy(mmcv_extension.SOURCE, package / "_ext.py")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(repo)])}
    command = [sys.executable, "-W", "ignore", "-c", WHO_IMPORTS_FIRST]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == "[1, 2]"


class OnMps:
    """A tensor of a device without kernels."""

    device = torch.device("mps")

    def cpu(self) -> torch.Tensor:
        return torch.tensor([1.0, 2.0])


def test_device_without_a_kernel(monkeypatch: pytest.MonkeyPatch):
    moved = []

    def double(tensor) -> torch.Tensor:
        if isinstance(tensor, OnMps):
            raise NotImplementedError("not for MPS")
        return tensor * 2

    monkeypatch.setattr(torch.Tensor, "to", lambda self, device: moved.append(device) or self)
    elsewhere._say.cache_clear()
    with pytest.warns(UserWarning, match=r"NMS has no kernel for mps.*on the CPU"):
        result = elsewhere.or_on_cpu("NMS", double, OnMps())
    assert result.tolist() == [2.0, 4.0] and moved == [OnMps.device]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said once
        elsewhere.or_on_cpu("NMS", double, OnMps())

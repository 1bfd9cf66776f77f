"""Supported versions of torch and OpenMMLab packages, and what mmengine needs to be installed.

Nothing here imports mmdet or mmcv before :func:`check_dependencies` has seen that they fit, so
that a wrong installation ends in one sentence and not in a traceback from inside a library.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import runpy
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from mmdet_maskr import mmcv_extension

PINNED_TORCH = "2.13.0"
MINIMUM_TORCH = "2.6"  # loads checkpoints without executing what they carry, by default


class Stack(NamedTuple):
    """Versions (at least, below) that belong together, and the commands that install them."""

    mmdet: tuple[str, str]
    mmengine: tuple[str, str]
    mmcv: tuple[str, str]
    install: dict[str, str]


STACKS = {
    "openmmlab": Stack(
        mmdet=("3.3", "3.4"),
        mmengine=("0.10", "0.11"),
        mmcv=("2.0", "2.2"),
        install=dict(
            mmdet='pip install "mmdet>=3.3,<3.4"',
            mmengine='pip install "mmengine>=0.10.4,<0.11"',
            # both own the folder mmcv: what is there goes first
            mmcv='pip uninstall -y mmcv mmcv-lite && pip install "mmcv-lite>=2.0.1,<2.2"',
            compiled="python {tools}/install_mmcv.py",
        ),
    ),
    # The maintained fork: other distribution names, the same import names.
    "onedl": Stack(
        mmdet=("3.4", "3.6"),
        mmengine=("0.10", "0.11"),
        mmcv=("2.2", "2.4"),
        install=dict(
            mmdet='pip install "onedl-mmdetection>=3.4,<3.6"',
            mmengine='pip install "onedl-mmengine>=0.10,<0.11"',
            mmcv="python {tools}/install_mmcv.py --stack onedl",
            compiled="python {tools}/install_mmcv.py --stack onedl",
        ),
    ),
}


def _version_tuple(version: str) -> tuple[int, ...]:
    """``'2.13.0+cpu'`` -> ``(2, 13, 0)``; what follows the digits and dots does not count."""
    match = re.match(r"\d+(\.\d+)*", version)
    if match is None:
        raise ValueError(f"not a version: {version!r}")
    return tuple(int(part) for part in match.group().split("."))


def _within(version: str, bounds: tuple[str, str]) -> bool:
    return _version_tuple(bounds[0]) <= _version_tuple(version) < _version_tuple(bounds[1])


def installed_version(package: str) -> str | None:
    """Version of an importable package without importing it, or None where it is missing.

    Read from the package's own ``version.py``: distribution names differ between OpenMMLab's
    packages and their maintained forks, import names do not.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    version_file = Path(spec.origin).with_name("version.py")
    return str(runpy.run_path(str(version_file))["__version__"])


def has_openmmlab() -> bool:
    """Whether any of mmdet, mmcv and mmengine is installed, fitting or not."""
    return any(_is_importable(package) for package in ("mmdet", "mmcv", "mmengine"))


def _is_importable(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ImportError:  # an import hook that refuses it
        return False


def tools_dir() -> Path:
    """Folder of the command-line tools: of this checkout or of the installed package."""
    package = Path(__file__).resolve().parent
    for folder in (package.parent / "tools", package / ".mim" / "tools"):
        if (folder / "install_mmcv.py").is_file():
            return folder
    return Path("tools")


def check_dependencies() -> str:
    """Check that torch, mmengine, mmcv and mmdet are there and fit, and give mmcv its ops.

    Returns:
        The name of the stack in use, a key of :data:`STACKS`.

    Raises:
        ImportError: one sentence that names the package, what was found, what is needed, and the
            command that fixes it.
    """
    if not _is_importable("torch"):
        raise ImportError(
            "mmdet_maskr needs PyTorch, which is not installed: "
            f"run `pip install torch=={PINNED_TORCH}`."
        )
    import torch

    if _version_tuple(torch.__version__) < _version_tuple(MINIMUM_TORCH):
        raise ImportError(
            f"mmdet_maskr needs torch >= {MINIMUM_TORCH}, but {torch.__version__} is installed: "
            f"run `pip install torch=={PINNED_TORCH}`."
        )
    for module, distribution in (("cv2", "opencv-python"), ("pycocotools", "pycocotools")):
        if not _is_importable(module):
            raise ImportError(
                f"mmdet_maskr needs {module}, which is not installed: "
                f"run `pip install {distribution}`."
            )
    name = _stack_name()
    stack = STACKS[name]
    mmcv_extension.check_folder(install_command("mmcv"))
    for package in ("mmdet", "mmengine", "mmcv"):
        _check_package(package, getattr(stack, package), stack.install[package])
    mmcv_extension.ensure(install_command("compiled"))
    return name


def _stack_name() -> str:
    mmdet_version = installed_version("mmdet")
    is_fork = mmdet_version is not None and _within(mmdet_version, STACKS["onedl"].mmdet)
    return "onedl" if is_fork else "openmmlab"


def install_command(what: str) -> str:
    """The command that installs 'mmdet', 'mmengine', 'mmcv', or mmcv's 'compiled' ops."""
    return STACKS[_stack_name()].install[what].format(tools=tools_dir())


def _check_package(package: str, bounds: tuple[str, str], install: str) -> None:
    version = installed_version(package)
    if version is not None and _within(version, bounds):
        return
    found = "is not installed" if version is None else f"{version} is installed"
    raise ImportError(
        f"mmdet_maskr needs {package} >= {bounds[0]}, < {bounds[1]}, but {package} {found}: "
        f"run `{install.format(tools=tools_dir())}`."
    )


def has_pkg_resources() -> bool:
    """Whether mmengine's own ``is_installed`` works: setuptools 82 removed what it imports."""
    return _is_importable("pkg_resources")


def is_installed(package: str) -> bool:
    """Whether a distribution or an importable package of that name is there; as in mmengine."""
    try:
        metadata.distribution(package)
        return True
    except metadata.PackageNotFoundError:
        spec = importlib.util.find_spec(package)
        return spec is not None and spec.origin is not None


def get_installed_path(package: str) -> str:
    """Folder of an installed package, by the name of its distribution or module; as in mmengine.

    Raises:
        PackageNotFoundError: there is none.
        RuntimeError: it is a namespace package.
    """
    names = [package]
    try:
        text = metadata.distribution(package).read_text("top_level.txt") or ""
        names += [name for name in text.split() if not name.startswith("_")]
    except metadata.PackageNotFoundError:
        pass
    for name in names:
        spec = importlib.util.find_spec(name) if name.isidentifier() else None
        if spec is not None and spec.origin is not None:
            return str(Path(spec.origin).parent)
        if spec is not None and name == package:
            raise RuntimeError(f"{package} is a namespace package, which has no one folder")
    raise metadata.PackageNotFoundError(package)

"""Which extension ``mmcv._ext`` is in use: the compiled one, or the ops in Python.

The ops in Python are installed as ``mmcv/_ext.py`` with this package, so that they are there
whoever imports ``mmcv.ops`` first. Two cases are left for :func:`ensure`: this package runs from a
checkout that was not installed, and a compiled extension does not fit the torch at hand.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from mmdet_maskr import adjustments

NAME = "mmcv._ext"
SOURCE = Path(__file__).with_name("ops") / "mmcv_ext" / "module.py"


def check_folder(command: str) -> None:
    """Find what pip leaves where two distributions share the folder ``mmcv``.

    Args:
        command: what installs it anew, for the message.

    Raises:
        ImportError: half an installation, or two of different versions over each other; one
            sentence with the command that fixes it.
    """
    versions = {}
    for name in ("mmcv", "mmcv-lite"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    if len(set(versions.values())) > 1:
        both = " and ".join(f"{name} {version}" for name, version in versions.items())
        raise ImportError(f"{both} are installed over each other: run `{command}`.")
    spec = importlib.util.find_spec("mmcv")
    if versions and spec is not None and spec.origin is None:
        folder = ", ".join(spec.submodule_search_locations or [])
        raise ImportError(
            f"mmcv is installed incompletely: {folder} has no __init__.py: run `{command}`."
        )


def ensure(compile_command: str) -> None:
    """Make ``mmcv._ext`` importable, by the ops in Python where there is no other way.

    Args:
        compile_command: what installs a compiled extension that fits, for the warning.
    """
    try:
        importlib.import_module(NAME)
        return
    except ModuleNotFoundError as error:
        if error.name != NAME:  # something that a compiled extension needs
            raise
    except ImportError as error:  # built for another torch, Python or C library
        import torch

        reason = str(error).splitlines()[0]
        warnings.warn(
            f"MMCV's compiled ops do not fit torch {torch.__version__} ({reason}): the ops in "
            f"Python are used. `{compile_command}` installs compiled ones that fit.",
            stacklevel=2,
        )
    spec = importlib.util.spec_from_file_location(NAME, SOURCE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    adjustments.serve_module(NAME, module)


def is_compiled() -> bool:
    """Whether MMCV's own extension serves, not the ops in Python."""
    return not getattr(importlib.import_module(NAME), "IN_PYTHON", False)


@contextmanager
def in_python() -> Iterator[None]:
    """Let ``mmcv.ops`` use the ops in Python also where there are compiled ones, to compare."""
    from mmdet_maskr.ops.mmcv_ext import module

    modules = [m for name, m in sys.modules.items() if name.startswith("mmcv.ops.")]
    users = [m for m in modules if hasattr(m, "ext_module")]
    with adjustments.replaced(users, "ext_module", module):
        yield


def serving() -> str:
    """What computes MMCV's ops, in words: for logs and bug reports."""
    if is_compiled():
        return "MMCV's compiled extension"
    from mmdet_maskr.ops.mmcv_ext import torchvision

    if torchvision.ops() is None:
        return "mmdet_maskr, in Python"
    return f"torchvision {metadata.version('torchvision')} and mmdet_maskr, in Python"

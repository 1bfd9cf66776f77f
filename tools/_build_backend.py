"""setuptools' build backend, and one file more in editable wheels: ``mmcv/_ext.py``.

``pip install .`` puts MMCV's ops in Python where Python looks for ``mmcv._ext`` (see setup.py).
``pip install -e .`` has to do the same, but setuptools leaves built files out of such wheels.
"""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403 - the hooks of PEP 517

SOURCE = Path(__file__).resolve().parent.parent / "mmdet_maskr" / "ops" / "mmcv_ext" / "module.py"
TARGET = "mmcv/_ext.py"


def build_editable(
    wheel_directory: str,
    config_settings: dict[str, Any] | None = None,
    metadata_directory: str | None = None,
) -> str:
    """As setuptools' hook; the wheel's RECORD names the file, so that pip removes it again."""
    name = build_meta.build_editable(wheel_directory, config_settings, metadata_directory)
    add_file(Path(wheel_directory, name), TARGET, SOURCE.read_bytes())
    return name


def add_file(wheel: Path, name: str, content: bytes) -> None:
    """Add a file to a wheel and to its RECORD."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    new = wheel.with_suffix(".new")
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(new, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in old.infolist():
            data = old.read(entry)
            if entry.filename.endswith(".dist-info/RECORD"):
                data = data.rstrip() + f"\n{name},sha256={digest},{len(content)}\n".encode()
            target.writestr(entry, data)
        target.writestr(name, content)
    new.replace(wheel)

"""Imports point down: ops know torch and mmcv, conventions know ops, models no datasets."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

GROUND = {
    "errors",
    "tracing",
    "run_lengths",
    "mask_crops",
    "image_sizes",
}  # they import NumPy or torch alone
LIBRARIES = {"torch", "mmcv", "numpy", "cv2"}
OWN = "mmdet_maskr."


def imports(folder: Path) -> Iterator[tuple[Path, str]]:
    """What the files of a folder import, but for type hints, with full names."""
    for path in folder.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        hints = {
            node
            for block in ast.walk(tree)
            if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
            for node in ast.walk(block)
        }
        for node in ast.walk(tree):
            if node in hints:
                continue
            if isinstance(node, ast.Import):
                yield from ((path, name.name) for name in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module == OWN[:-1]:
                yield from ((path, OWN + name.name) for name in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield path, str(node.module)


def rooms(folder: Path) -> set[str]:
    """Rooms of the package that a folder imports."""
    names = {name for _, name in imports(folder) if name.startswith(OWN)}
    return {name.removeprefix(OWN).split(".")[0] for name in names}


def test_ops_know_torch_and_mmcv_alone(repo: Path):
    folder = repo / "mmdet_maskr" / "ops"
    # mmcv_ext asks compat how mmcv is installed; RLEs are decoded by pycocotools
    assert rooms(folder) <= GROUND | {"ops", "compat"}
    for path, name in imports(folder):
        top = name.split(".")[0]
        known = LIBRARIES | sys.stdlib_module_names | {"mmdet_maskr"}
        assert top in known or (path.name, top) == ("mask_rle.py", "pycocotools"), (path, name)


@pytest.mark.parametrize(
    ("room", "above"),
    [
        ("conventions", {"models", "datasets", "evaluation", "engine", "weights", "deploy"}),
        ("models", {"datasets", "evaluation", "engine", "weights", "deploy", "apis"}),
    ],
)
def test_rooms_do_not_import_those_above(repo: Path, room: str, above: set[str]):
    found = rooms(repo / "mmdet_maskr" / room)
    assert found and not found & above, found & above


def test_no_frames_are_read(repo: Path):
    """Neither an error's nor a caller's: what they hold is passed on instead."""
    for folder in ("mmdet_maskr", "tools"):
        for path in (repo / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                name = node.attr if isinstance(node, ast.Attribute) else ""
                assert name not in ("f_locals", "f_globals", "_getframe", "currentframe"), path

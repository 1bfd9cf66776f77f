"""Choices and defaults of the command line are those of the modules that own them."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from mmdet_maskr.ablations import tables
from mmdet_maskr.apis.predictions import FIELDS
from mmdet_maskr.cli import page
from mmdet_maskr.cli.arguments import (
    ablate,
    browse,
    compare,
    convert,
    convert_weights,
    errors,
    export,
    predict,
    shapes,
)
from mmdet_maskr.compare import live
from mmdet_maskr.datasets.formats import FORMATS, splits
from mmdet_maskr.datasets.formats.writers import WRITERS
from mmdet_maskr.datasets.shapes import meta
from mmdet_maskr.deploy.export import write
from mmdet_maskr.deploy.files import FILES
from mmdet_maskr.evaluation.error_analysis import split
from mmdet_maskr.visualization.browse import MODES
from mmdet_maskr.weights.convert import CONVERTERS


def test_choices_are_those_of_the_package():
    assert tuple(tables.TABLES) == ablate.TABLES and tables.SCALES == ablate.SCALES
    assert browse.MODES == MODES
    assert compare.HOST == live.HOST
    assert tuple(FORMATS) == convert.FORMATS and splits.VAL_SHARE == convert.VAL_SHARE
    assert tuple(sorted(CONVERTERS)) == convert_weights.ORIGINS
    assert (errors.FOREGROUND, errors.BACKGROUND) == (split.FOREGROUND, split.BACKGROUND)
    assert tuple(FILES) == export.FORMATS and export.DEFAULT_OPSET == write.DEFAULT_OPSET
    assert tuple(FIELDS) == predict.OUTPUTS and tuple(WRITERS) == predict.LABELS
    assert shapes.SIZE_RANGE == meta.SIZE_RANGE
    for name in (*meta.CLASSES, *meta.KEYPOINTS):
        assert name in shapes.__doc__


def test_arguments_import_nothing_heavy(repo: Path):
    """The standard library and one another, at the top of each file; benchmark's are its parts'."""
    for path in (repo / "mmdet_maskr" / "cli" / "arguments").glob("*.py"):
        if path.name == "benchmark.py":
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom):
                module = str(node.module)
                assert module.split(".")[0] in sys.stdlib_module_names or module.startswith(
                    "mmdet_maskr.cli.arguments"
                ), (path, module)
            elif isinstance(node, ast.Import):
                assert all(n.name in sys.stdlib_module_names for n in node.names), path


def test_the_page_is_up_to_date(repo: Path):
    """docs/cli.md has every command, argument and default as the parsers have them."""
    text = (repo / "docs" / "cli.md").read_text(encoding="utf-8")
    assert page.MARK in text
    assert text == page.update(text), "run python -m mmdet_maskr.cli.page docs/cli.md"

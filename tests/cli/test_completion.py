"""Completion: what fits, from the parsers, and what the shells themselves make of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mmdet_maskr.cli.completion import SCRIPTS, candidates

LINE = ["ablate", "run", "--scale", ""]
BASH = """
{script}
COMP_WORDS=(maskr {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _maskr
echo "${{COMPREPLY[@]}}"
"""
ZSH = """
compdef() {{ : }}
{script}
compadd() {{ shift; print -- "$@" }}
_files() {{ print FILES }}
words=(maskr {words}); CURRENT=$#words; _maskr
"""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["tr"], ["train"]),
        (["train", "--am"], ["--amp"]),
        (["train", "c.py", "--amp", "--am"], []),
        (["train", "co"], []),
        (["ablate", ""], ["list", "run", "report"]),
        (LINE, ["coco", "mini"]),
        (["convert", "a", "b", "--format", "labelm"], ["labelme"]),
        (["predict", "x", "--outputs", "boxes", "m"], ["masks"]),
        (["export", "c", "w", "out", "--format", "onnx", ""], []),
        (["completion", "z"], ["zsh"]),
        (["nothing", ""], []),
    ],
)
def test_candidates(words: list[str], expected: list[str]):
    assert candidates(words) == expected


def test_all_options_but_secret_ones():
    found = candidates(["train", "--"])
    assert "--cfg-options" in found and "--resume" in found and "--local_rank" not in found
    assert "maskr" not in candidates([""]) and "predict" in candidates([""])


@pytest.fixture
def shell_env(repo: Path, tmp_path: Path) -> dict[str, str]:
    """A PATH with a maskr of this checkout."""
    script = tmp_path / "bin" / "maskr"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m maskr "$@"\n')
    script.chmod(0o755)
    path = f"{script.parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(repo), "HOME": str(tmp_path)}


@pytest.mark.parametrize(
    ("shell", "template", "options"), [("bash", BASH, ["--norc"]), ("zsh", ZSH, ["-f"])]
)
def test_in_a_shell(shell: str, template: str, options: list[str], shell_env: dict[str, str]):
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    for words, expected in (("trai", "train"), ("ablate run --scale ''", "coco mini")):
        code = template.format(script=SCRIPTS[shell], words=words)
        command = [shell, *options, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, env=shell_env)
        assert done.stdout.strip() == expected, done.stderr


def test_in_fish(shell_env: dict[str, str]):
    if shutil.which("fish") is None:
        pytest.skip("there is no fish here")
    code = f"{SCRIPTS['fish']}\ncomplete -C 'maskr ablate run --scale '"
    command = ["fish", "--no-config", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=shell_env)
    assert done.stdout.split() == ["coco", "mini"], done.stderr

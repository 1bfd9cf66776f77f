"""tools/_setup.sh: the tests' packages come on top, once, and again when their list changes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# Stands in for the interpreter: pip is written down, the environment is the test's folder.
FAKE = """#!/usr/bin/env bash
if [ "$1 $2" = "-m pip" ]; then
    echo "$@" >>{folder}/pip.log
    exit {code}
elif [ "$2" = "import sys; print(sys.prefix)" ]; then
    echo {folder}
else
    exec {python} "$@"
fi
"""


@pytest.fixture
def checkout(tmp_path: Path, repo: Path) -> Path:
    (tmp_path / "tools").mkdir()
    for name in ("requirements.txt", "requirements-test.txt", "setup.py", "tools/_setup.sh"):
        shutil.copy(repo / name, tmp_path / name)
    return tmp_path


def call(checkout: Path, code: int = 0) -> tuple[int, str, list[str]]:
    """Exit code and output of ensure_test_setup, and all calls of pip so far."""
    fake = checkout / "python"
    fake.write_text(FAKE.format(folder=checkout, code=code, python=sys.executable))
    fake.chmod(0o755)
    script = f"set -euo pipefail; source tools/_setup.sh; PYTHON={fake}; ensure_test_setup"
    done = subprocess.run(["bash", "-c", script], cwd=checkout, capture_output=True, text=True)
    log = checkout / "pip.log"
    return done.returncode, done.stdout + done.stderr, log.read_text().splitlines()


def test_installed_once(checkout: Path):
    returned, output, pip = call(checkout)
    assert returned == 0, output
    assert "what the tests need besides" in output and len(pip) == 1
    assert pip[0].endswith(f"-r {checkout}/requirements.txt -r {checkout}/requirements-test.txt")
    returned, output, pip = call(checkout)
    assert (returned, output, len(pip)) == (0, "", 1)
    with (checkout / "requirements-test.txt").open("a") as file:
        file.write("six\n")
    assert call(checkout)[0] == 0 and len(call(checkout)[2]) == 2


def test_failure_is_said_and_tried_again(checkout: Path):
    returned, output, pip = call(checkout, code=1)
    assert returned == 2 and "error: pip could not install requirements-test.txt" in output
    assert call(checkout)[0] == 0
    assert len(call(checkout)[2]) == len(pip) + 1


@pytest.mark.parametrize("name", ["quickstart.sh", "run_tests.sh"])
def test_help_installs_nothing(checkout: Path, repo: Path, name: str):
    script = shutil.copy(repo / "tools" / name, checkout / "tools")
    done = subprocess.run(["bash", script, "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and f"bash tools/{name} [--here]" in done.stdout
    assert "set-up" not in done.stdout and not (checkout / ".venv").exists()

"""tools/_setup.sh: the environment, and the tests' packages on top: once, and when lists change."""

from __future__ import annotations

import os
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

# Stands in for the base interpreter and for that of a .venv. "-m venv" puts a copy of itself there;
# pip is there once the file "pip" is, and ensurepip makes it where it can.
FAKE_VENV = """#!/usr/bin/env bash
here=$(dirname "$0")
case "$1 $2" in
    "-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && touch "$3/bin/pip" ;;
    "-m pip") [ -e "$here/pip" ] ;;
    "-m ensurepip") [ -e "$here/ensurepip" ] && touch "$here/pip" ;;
    "-c "*) ;;
    *) exit 1 ;;
esac
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


def write_fake(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(FAKE_VENV)
    file.chmod(0o755)
    return file


def make_venv(checkout: Path, python: Path) -> subprocess.CompletedProcess:
    script = 'set -euo pipefail; source tools/_setup.sh; make_venv; echo "$PYTHON"'
    env = {**os.environ, "PYTHON": str(python)}
    return subprocess.run(
        ["bash", "-c", script], cwd=checkout, env=env, capture_output=True, text=True
    )


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A base interpreter whose path has a blank."""
    return write_fake(tmp_path / "my tools" / "python3")


def test_venv_is_made_with_an_interpreter_whose_path_has_a_blank(checkout: Path, base: Path):
    done = make_venv(checkout, base)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{checkout}/.venv/bin/python\n"
    gone = base.with_name("python4")
    failed = make_venv(checkout, gone)
    assert failed.returncode == 2 and f"was found at {gone}:" in failed.stderr


def test_venv_without_pip_is_kept(checkout: Path, base: Path):
    """As uv makes them: pip is added; where it cannot be, the folder stays as it was."""
    own = write_fake(checkout / ".venv" / "bin" / "python")
    package = checkout / ".venv" / "lib" / "package.py"
    package.parent.mkdir()
    package.touch()
    failed = make_venv(checkout, base)
    assert failed.returncode == 2 and f"{checkout}/.venv has no pip" in failed.stderr
    assert package.exists()
    own.with_name("ensurepip").touch()
    done = make_venv(checkout, base)
    assert done.returncode == 0, done.stderr
    assert own.with_name("pip").exists() and package.exists()


def test_venv_that_does_not_run_is_made_anew(checkout: Path, base: Path):
    """As after its interpreter was removed; that is said."""
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").symlink_to(checkout / "gone")
    (checkout / ".venv" / "left").touch()
    done = make_venv(checkout, base)
    assert done.returncode == 0, done.stderr
    assert ".venv/bin/python does not run; the folder is made anew" in done.stdout
    assert not (checkout / ".venv" / "left").exists()
    assert (checkout / ".venv" / "bin" / "pip").exists()

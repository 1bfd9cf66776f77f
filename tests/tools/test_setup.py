"""tools/_setup.py: the environment, and the tests' packages on top: once, and when lists change."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

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

posix = pytest.mark.skipif(os.name != "posix", reason="fakes an interpreter by a shell script")


@pytest.fixture
def setup(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator:
    """The module, in a checkout that has what it reads."""
    (tmp_path / "tools").mkdir()
    for name in ("requirements.txt", "requirements-test.txt", "setup.py", "tools/_setup.py"):
        shutil.copy(repo / name, tmp_path / name)
    spec = importlib.util.spec_from_file_location("_setup", repo / "tools" / "_setup.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "_setup", module)  # dataclasses look it up
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "REPO", tmp_path)
    yield module


@pytest.fixture
def pip(setup, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Calls of pip, which does nothing here; everything can be imported, but for torch."""
    calls: list[tuple[str, ...]] = []

    def fake(python: Path, *arguments: str, wanted: bool = True) -> bool:
        calls.append(arguments)
        return wanted or "+cpu" not in arguments[-1]

    monkeypatch.setattr(setup, "pip", fake)
    monkeypatch.setattr(setup, "runs", lambda python, *arguments: "import torch" not in arguments)
    monkeypatch.setattr(setup, "check_import", lambda python: None)
    monkeypatch.setattr(
        setup,
        "output_of",
        lambda python, code: str(setup.REPO) if "prefix" in code else sys.version,
    )
    return calls


def test_done_once_and_again_when_a_list_changes(setup, pip, capsys: pytest.CaptureFixture):
    first = setup.ensure(here=True)
    wanted = [words[-1] for words in pip]
    assert wanted == ["torch==2.13.0+cpu", "torch==2.13.0", str(setup.REPO / "requirements.txt"),
                      str(setup.REPO)]  # fmt: skip
    assert setup.ensure(here=True) == first and len(pip) == 4
    assert "done already" in capsys.readouterr().out
    with (setup.REPO / "requirements.txt").open("a") as file:
        file.write("six\n")
    setup.ensure(here=True)
    assert len(pip) == 8


def test_no_cpu_build_where_there_is_a_gpu(setup, pip, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(setup.shutil, "which", lambda name: f"/usr/bin/{name}")
    setup.ensure(here=True)
    assert pip[0] == ("torch==2.13.0",)


@pytest.mark.parametrize("system", ["Darwin", "Windows"])
def test_other_platforms_take_pypis_torch(setup, pip, monkeypatch: pytest.MonkeyPatch, system: str):
    monkeypatch.setattr(setup.platform, "system", lambda: system)
    setup.ensure(here=True)
    assert pip[0] == ("torch==2.13.0",)


def test_tests_packages_come_on_top(setup, pip):
    setup.ensure(here=True)
    before = len(pip)
    for _ in range(2):
        setup.ensure(here=True, tests=True)
    lists = [str(setup.REPO / f"requirements{kind}.txt") for kind in ("", "-test")]
    assert pip[before:] == [("-r", lists[0], "-r", lists[1])]


def test_failure_is_said_and_tried_again(setup, pip, monkeypatch: pytest.MonkeyPatch):
    def fails(python: Path) -> None:
        raise setup.SetupError("pip install -r requirements.txt failed:\nno network")

    with monkeypatch.context() as patch:
        patch.setattr(setup, "_install", fails)
        with pytest.raises(setup.SetupError, match="no network"):
            setup.ensure(here=True)
    setup.ensure(here=True)
    assert len(pip) == 4


def test_pip_that_fails_is_shown(setup, capfd: pytest.CaptureFixture):
    """The real pip, offline: its last lines are in the error."""
    with pytest.raises(setup.SetupError, match="no-such-file"):
        setup.pip(Path(sys.executable), "--no-index", "-r", "no-such-file.txt")
    assert not setup.pip(Path(sys.executable), "--no-index", "-r", "no-such.txt", wanted=False)


@pytest.mark.parametrize("name", ["quickstart.py", "run_tests.py"])
def test_help_installs_nothing(setup, repo: Path, name: str):
    script = shutil.copy(repo / "tools" / name, setup.REPO / "tools")
    done = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "--here" in done.stdout
    assert "set-up:" not in done.stdout and not (setup.REPO / ".venv").exists()


@posix
@pytest.mark.parametrize("name", ["quickstart.sh", "run_tests.sh"])
def test_shell_scripts_find_an_interpreter(repo: Path, name: str, tmp_path: Path):
    script = repo / "tools" / name
    env = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(["bash", script, "--help"], capture_output=True, text=True, env=env)
    assert done.returncode == 0 and "--here" in done.stdout
    env["PYTHON"] = str(tmp_path / "gone")
    done = subprocess.run(["bash", script, "--help"], capture_output=True, text=True, env=env)
    assert done.returncode == 2 and f"was found at {tmp_path / 'gone'}:" in done.stderr


def write_fake(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(FAKE_VENV)
    file.chmod(0o755)
    return file


@pytest.fixture
def base(setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A base interpreter whose path has a blank."""
    python = write_fake(tmp_path / "my tools" / "python3")
    monkeypatch.setattr(setup.sys, "executable", str(python))
    return python


@posix
def test_venv_is_made_with_an_interpreter_whose_path_has_a_blank(setup, base: Path):
    folder = setup.REPO / ".venv"
    assert setup.make_venv(folder) == folder / "bin" / "python"
    assert (folder / "bin" / "pip").exists()


@posix
def test_venv_without_pip_is_kept(setup, base: Path):
    """As uv makes them: pip is added; where it cannot be, the folder stays as it was."""
    folder = setup.REPO / ".venv"
    own = write_fake(folder / "bin" / "python")
    package = folder / "lib" / "package.py"
    package.parent.mkdir()
    package.touch()
    with pytest.raises(setup.SetupError, match=f"{folder} has no pip"):
        setup.make_venv(folder)
    assert package.exists()
    own.with_name("ensurepip").touch()
    setup.make_venv(folder)
    assert own.with_name("pip").exists() and package.exists()


@posix
def test_venv_that_does_not_run_is_made_anew(setup, base: Path, capsys: pytest.CaptureFixture):
    """As after its interpreter was removed; that is said."""
    folder = setup.REPO / ".venv"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(setup.REPO / "gone")
    (folder / "left").touch()
    setup.make_venv(folder)
    assert "does not run; creating the folder again" in capsys.readouterr().out
    assert not (folder / "left").exists() and (folder / "bin" / "pip").exists()


def test_old_interpreters_are_refused(setup, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(setup.sys, "version_info", (3, 9, 18))
    with pytest.raises(setup.SetupError, match=r"3\.10 or newer"):
        setup.ensure()

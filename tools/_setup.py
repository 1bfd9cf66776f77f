"""An environment with torch, MMDetection and this package, made once; standard library alone.

For quickstart.py and run_tests.py, on any platform. No compiler is needed.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
TORCH_VERSION = "2.13.0"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PIP = ["-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off"]
STEPS = {"Downloading": "downloading", "Using cached": "from the cache", "Collecting": "finding"}


class SetupError(Exception):
    """What is in the way, in a sentence that says what to do."""


@dataclass
class Environment:
    """An interpreter that has all that is needed."""

    python: Path
    seconds: float  # that its set-up took, once


def ensure(here: bool = False, tests: bool = False) -> Environment:
    """Make the environment, unless that was done already for the same lists of packages.

    Args:
        here: install into the environment of the running interpreter instead of ``.venv``.
        tests: add requirements-test.txt.

    Raises:
        SetupError: a step failed.
    """
    if sys.version_info < (3, 10):  # noqa: UP036 - that is the question
        raise SetupError(f"Python 3.10 or newer is needed; {sys.executable} is older.")
    python = Path(sys.executable) if here else make_venv(REPO / ".venv")
    prefix = Path(output_of(python, "import sys; print(sys.prefix)"))
    seconds = _once(
        python, prefix / "mmdet_maskr_setup", ["requirements.txt", "setup.py"], _install
    )
    if tests:
        lists = ["requirements.txt", "requirements-test.txt"]
        _once(python, prefix / "mmdet_maskr_test_setup", lists, _install_for_tests)
    return Environment(python, seconds)


def _once(python: Path, stamp_file: Path, lists: Sequence[str], install) -> float:
    """Call ``install(python)`` unless the stamp says that it was done; return its seconds."""
    digest = hashlib.sha256(f"{REPO}{output_of(python, 'import sys; print(sys.version)')}".encode())
    for name in (*lists, "tools/_setup.py"):
        digest.update((REPO / name).read_bytes())
    stamp = digest.hexdigest()
    try:
        done, seconds = stamp_file.read_text(encoding="utf-8").split()
        if done == stamp:
            if install is _install:
                say(f"done already ({python})")
            return float(seconds)
    except (OSError, ValueError):  # none yet, or cut short
        pass
    begin = time.monotonic()
    install(python)
    spent = round(time.monotonic() - begin, 1)
    # mmdet_maskr.atomic_files cannot be imported before it is installed
    partial = stamp_file.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(f"{stamp}\n{spent}\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(stamp_file)
    say(f"done in {spent:.0f} s ({python})")
    return spent


def say(text: str) -> None:
    print(f"set-up: {text}", flush=True)


def output_of(python: Path, code: str) -> str:
    """What a line of Python prints."""
    command = [str(python), "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def runs(python: Path, *arguments: str) -> bool:
    """Whether an interpreter exists and ends with exit code 0."""
    try:
        return subprocess.run([str(python), *arguments], capture_output=True).returncode == 0
    except OSError:
        return False


def make_venv(folder: Path) -> Path:
    """Interpreter of a virtual environment, which is made, fixed or kept.

    Raises:
        SetupError: venv or pip are not to be had.
    """
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    hint = "on Debian and Ubuntu, apt-get install python3-venv"
    if not runs(python, "-c", ""):
        if folder.exists() or folder.is_symlink():
            say(f"{python} does not run; creating the folder again")
            shutil.rmtree(folder) if not folder.is_symlink() else folder.unlink()
        if not runs(Path(sys.executable), "-m", "venv", str(folder)):
            raise SetupError(f"{sys.executable} -m venv {folder} failed: {hint}.")
    elif not runs(python, "-m", "pip", "--version"):  # uv's, or half of one
        if not runs(python, "-m", "ensurepip"):
            raise SetupError(
                f"{folder} has no pip, and its ensurepip failed: {hint}. Install pip into it, "
                "remove it, or use --here."
            )
    return python


def pip(python: Path, *arguments: str, wanted: bool = True) -> bool:
    """``pip install``, with a line that says what it is at; return whether it worked.

    Raises:
        SetupError: it did not, and ``wanted`` is true.
    """
    lines: list[str] = []
    progress = Progress()
    with subprocess.Popen(
        [str(python), *PIP, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8",
        errors="replace",
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip())
            progress.show(line.strip())
    progress.end()
    if process.returncode == 0:
        return True
    if wanted:
        text = "\n".join(lines[-25:])
        raise SetupError(f"pip install {' '.join(arguments)} failed:\n{text}")
    return False


class Progress:
    """pip's work as one line that is written over, or as a line every ten seconds in a log."""

    def __init__(self) -> None:
        self.last = time.monotonic()
        self.is_terminal = sys.stdout.isatty()
        self.width = 0

    def show(self, line: str) -> None:
        """Show a line of pip's in short, if it says what is going on."""
        word = next((word for word in (*STEPS, "Installing") if line.startswith(word)), None)
        if word is None:
            return
        name = re.sub(r".*/", "", line[len(word) :].split(" (from")[0].strip())[:60]
        text = f"      {STEPS.get(word, 'installing')} {name if word in STEPS else ''}".rstrip()
        if self.is_terminal:
            print(f"\r{text:<{self.width}}", end="", flush=True)
            self.width = len(text)
        elif time.monotonic() - self.last > 10:
            print(text, flush=True)
            self.last = time.monotonic()

    def end(self) -> None:
        if self.width:
            print("\r" + " " * self.width + "\r", end="", flush=True)


def install_torch(python: Path) -> None:
    """torch, as the build for CPUs where there is no GPU: it saves gigabytes."""
    if runs(python, "-c", "import torch"):
        return
    if platform.system() == "Linux" and shutil.which("nvidia-smi") is None:
        options = ["--retries", "1", "--timeout", "20", "--extra-index-url", TORCH_CPU_INDEX]
        if pip(python, *options, f"torch=={TORCH_VERSION}+cpu", wanted=False):
            return
        print(
            "      the CPU build cannot be downloaded; installing PyPI's build instead", flush=True
        )
    pip(python, f"torch=={TORCH_VERSION}")


def fix_opencv(python: Path) -> None:
    """opencv-python needs system libraries that a bare machine lacks; the headless build does not.

    Raises:
        SetupError: neither can be imported.
    """
    if runs(python, "-c", "import cv2"):
        return
    text = (REPO / "requirements.txt").read_text(encoding="utf-8")
    version = re.search(r"^opencv-python==(\S+)", text, re.MULTILINE)
    assert version is not None
    print("      opencv-python cannot be imported here; using opencv-python-headless", flush=True)
    pip(python, "--force-reinstall", "--no-deps", f"opencv-python-headless=={version.group(1)}")
    if not runs(python, "-c", "import cv2"):
        raise SetupError("OpenCV cannot be imported: `python -c 'import cv2'` shows why.")


def _install(python: Path) -> None:
    say(f"1/3 PyTorch {TORCH_VERSION}")
    install_torch(python)
    say("2/3 MMEngine, MMDetection and their dependencies")
    pip(python, "-r", str(REPO / "requirements.txt"))
    fix_opencv(python)
    say("3/3 this package")
    pip(python, "--no-build-isolation", "--no-deps", "-e", str(REPO))
    check_import(python)


def check_import(python: Path) -> None:
    """Import the installed package as a user does, from another folder.

    Raises:
        SetupError: it fails.
    """
    with tempfile.TemporaryDirectory() as elsewhere:
        command = [str(python), "-c", "import mmdet_maskr"]
        done = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True)
    if done.returncode != 0:
        raise SetupError(f"the installed package cannot be imported:\n{done.stderr[-2000:]}")


def _install_for_tests(python: Path) -> None:
    say("packages for the tests")
    lists = ["requirements.txt", "requirements-test.txt"]
    pip(python, *(word for name in lists for word in ("-r", str(REPO / name))))
    fix_opencv(python)  # also where a test's package brought its own

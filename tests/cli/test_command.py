"""``maskr``: fast help, the right command, exit codes, and no torch where none is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import maskr
from mmdet_maskr.cli.commands import COMMANDS
from mmdet_maskr.cli.dispatch import main as dispatch
from mmdet_maskr.cli.parser import parser_of
from mmdet_maskr.version import __version__

PROGRAM = """
import resource, sys
import maskr
code = 0
try:
    maskr.main(sys.argv[1:])
except SystemExit as ending:
    code = ending.code
used = resource.getrusage(resource.RUSAGE_SELF)
loaded = [m for m in ("torch", "numpy", "cv2", "mmengine", "mmcv", "mmdet") if m in sys.modules]
print("LOADED", loaded, used.ru_utime + used.ru_stime, code)
"""
LIGHT = [name for name, command in COMMANDS.items() if not command.heavy]


def call(*words: str) -> int:
    """Exit code of a command in this process."""
    try:
        maskr.main(words)
    except SystemExit as ending:
        return int(ending.code or 0)
    return 0


def started(repo: Path, *words: str) -> tuple[str, str, float]:
    """Output of a command in a process of its own, what it loaded, and its seconds of CPU."""
    env = {**os.environ, "PYTHONPATH": str(repo)}
    command = [sys.executable, "-c", PROGRAM, *words]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    text, _, facts = done.stdout.rpartition("LOADED ")
    loaded, _, numbers = facts.partition("] ")
    return text + done.stderr, loaded + "]", float(numbers.split()[0])


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["predict", "-h"]])
def test_help_is_fast(repo: Path, words: list[str]):
    """Under 0.3 s of this process's own time, whatever else the machine does; the best of three."""
    pytest.importorskip("resource")
    runs = [started(repo, *words) for _ in range(3)]
    assert all(loaded == "[]" for _, loaded, _ in runs)
    assert min(seconds for _, _, seconds in runs) < 0.3
    assert "maskr " in runs[0][0]


def test_every_light_help(repo: Path):
    """No command's help loads torch, but benchmark's, which asks its parts."""
    program = PROGRAM.replace(
        "maskr.main(sys.argv[1:])", "for name in sys.argv[1:]: maskr.main([name, '--help'])"
    )
    env = {**os.environ, "PYTHONPATH": str(repo)}
    command = [sys.executable, "-c", program, *LIGHT]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert "LOADED [] " in done.stdout, done.stderr
    for name in LIGHT:
        assert f"usage: maskr {name} " in done.stdout
    assert "%(prog)s" not in done.stdout and "python tools/" not in done.stdout


def test_overview_has_every_command(capsys):
    assert call("--help") == 0
    printed = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert f"  {name} " in printed and command.summary in printed
    assert max(map(len, printed.splitlines())) <= 100


def test_help_of_a_nested_command(capsys):
    assert call("ablate", "run", "--help") == 0
    assert "--dry-run" in capsys.readouterr().out


def test_version(capsys):
    assert call("--version") == 0
    assert __version__ in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("trian", "x.py"), "did you mean train?"),
        (("xyzzy",), "there is no command xyzzy"),
        (("export", "a", "b", "c", "--fromat", "onnx"), "did you mean --format?"),
        (("train", "nowhere.py"), "there is no config file nowhere.py"),
        (("predict", "x.jpg", "--weights", "nowhere.pth"), "there is no checkpoint"),
        (("predict", "x.jpg", "--weights", "a.pth", "--score-thr", "2"), "--score-thr 2"),
        (("predict", "x.jpg", "--weights", "a.pth", "--ann-file", "b.json"), "--coco-json"),
        ((), "usage: maskr COMMAND"),
    ],
)
def test_wrong_use(words: tuple, expected: str, capsys, tmp_path, monkeypatch):
    """Exit code 2 and one sentence, on standard error."""
    monkeypatch.chdir(tmp_path)
    assert call(*words) == 2
    captured = capsys.readouterr()
    assert expected in captured.err and captured.out == ""


def test_an_installation_that_does_not_fit(capsys):
    """The package's own sentence and exit code 2; a missing module of another kind is a bug."""

    def unfit() -> None:
        raise ImportError("mmdet_maskr needs torch >= 9: run `pip install torch==9`.")

    with pytest.raises(SystemExit) as ending:
        dispatch(["zoo"], unfit)
    assert ending.value.code == 2
    assert "error: mmdet_maskr needs torch >= 9" in capsys.readouterr().err

    def broken() -> None:
        import no_such_module_of_anyone  # noqa: F401

    with pytest.raises(ModuleNotFoundError):
        dispatch(["zoo"], broken)


def test_as_a_module(repo: Path, tmp_path: Path):
    """``python -m mmdet_maskr COMMAND``, outside of the checkout."""
    env = {**os.environ, "PYTHONPATH": str(repo)}
    command = [sys.executable, "-m", "mmdet_maskr", "env", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert content["Versions"]["mmdet_maskr"] == __version__
    assert "ParallelRoIHead" in content["Registered"]["MODELS"]


def test_tools_are_commands(repo: Path):
    """Each forward names a command, and its help names the script."""
    forwards = {}
    for path in sorted((repo / "tools").glob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "maskr.tool(" in text:
            command = text.split('maskr.tool("')[1].split('"')[0]
            forwards[command] = path.name
            assert f'maskr.end("{command}", main)' in text
    assert {*COMMANDS} - {*forwards} == {"predict", "suggest", "env", "completion"}
    text = parser_of("train", "python tools/train.py").format_help()
    assert "python tools/train.py configs/" in text and "maskr train" not in text


def test_zoo_and_check_as_json(capsys, tmp_path: Path):
    assert call("zoo", "mini/maskr_shapes", "--json") == 0
    (row,) = [r for r in json.loads(capsys.readouterr().out) if r["name"] == "mini/maskr_shapes"]
    assert row["parameters"] > 1e5 and row["dataset"]
    file = tmp_path / "a.json"
    image = dict(id=1, file_name="a.png", width=9, height=9)
    wrong = dict(id=1, image_id=2, category_id=1, bbox=[0, 0, 3, 3], area=9, iscrowd=0,
                 segmentation=[])  # fmt: skip
    categories = [dict(id=1, name="leaf")]
    file.write_text(json.dumps(dict(images=[image], annotations=[wrong], categories=categories)))
    assert call("check", str(file), "--json") == 1
    content = json.loads(capsys.readouterr().out)
    found = {row["code"]: row for row in content["problems"]}
    assert content["images"] == 1 and found["image-unknown"]["count"] == 1
    assert found["image-unknown"]["severity"] == "error" and found["image-unknown"]["remedy"]


def test_a_reader_that_has_seen_enough(repo: Path):
    """``maskr --help | head -1``: no traceback."""
    env = {**os.environ, "PYTHONPATH": str(repo)}
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "maskr", "--help"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, env=env)
    os.close(writing)
    assert done.returncode == 1 and done.stderr == ""

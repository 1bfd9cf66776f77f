"""A corpus of bad inputs: each ends in its sentence, or is skipped and counted.

None ends in a traceback from inside a library, in a hang, or in a run that looks good. Configs,
annotation files and checkpoints go through tools/train.py and tools/test.py as a user's would;
tests/datasets/check has a hundred more of annotation files.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from bad_configs import CONFIGS, GOOD, BadConfig
from bad_runs import run_tool

SECONDS = 120  # for what takes one or two on an idle processor


def run(case: BadConfig, tmp_path: Path, shapes_root: Path, repo: Path) -> tuple[int, str]:
    data, work_dir = tmp_path / "data", tmp_path / "work"
    work_dir.mkdir()
    shutil.copytree(shapes_root, data)
    names = dict(work_dir=str(work_dir), repo=str(repo))
    if case.prepare is not None:
        case.prepare(work_dir, data)
    lines = case.lines
    for key, value in names.items():
        lines = lines.replace(f"{{{key}}}", value)
    config = tmp_path / ("c.json" if lines.startswith("[") else "c.py")
    config.write_text(lines if case.bare else f"{GOOD}\n{lines}\n")
    args = [str(config), *(arg.format(**names) for arg in case.args), "--work-dir", str(work_dir)]
    if "--data-root" not in args and not case.bare:
        args += ["--data-root", str(data)]
    return run_tool(repo / "tools" / case.tool, args, tmp_path, SECONDS)


def test_the_good_config_trains(tmp_path: Path, shapes_root: Path, repo: Path):
    """What the bad ones differ from."""
    code, output = run(BadConfig("good", "", ""), tmp_path, shapes_root, repo)
    assert code == 0, output[-3000:]
    assert "coco/segm_mAP" in output and (tmp_path / "work" / "epoch_1.pth").is_file()


@pytest.mark.parametrize("case", CONFIGS, ids=lambda case: case.name)
def test_configs(case: BadConfig, tmp_path: Path, shapes_root: Path, repo: Path):
    """One sentence that names what is wrong, and exit code 2."""
    code, output = run(case, tmp_path, shapes_root, repo)
    assert "Traceback" not in output, output[-3000:]
    assert code == 2, output[-3000:]
    error = output[output.rindex("error: ") :]
    assert re.search(case.says, error, re.DOTALL), error

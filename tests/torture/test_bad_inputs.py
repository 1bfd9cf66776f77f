"""A corpus of bad inputs: each ends in its sentence, or is skipped and counted.

None ends in a traceback from inside a library, in a hang, or in a run that looks good. Configs,
annotation files and checkpoints go through tools/train.py, tools/test.py and
tools/convert_weights.py as a user's would; tests/coco/check has 150 more annotation files.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from bad_configs import CONFIGS, GOOD, BadConfig
from bad_files import IMAGES, SIDE, SOURCES, BadImage, BadSource
from forked import run_tool

from mmdet_maskr.datasets import ShapesDataset, unreadable
from mmdet_maskr.errors import UserError

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


@pytest.mark.parametrize("case", IMAGES, ids=lambda case: case.name)
def test_images(case: BadImage, tmp_path: Path, shapes_root: Path):
    """An image in three channels of its size, another one in its place and a count, or an error."""
    data = Path(shutil.copytree(shapes_root, tmp_path / "data"))
    path = data / "train" / "000003.png"
    case.write(path)
    pipeline = [dict(type="LoadImageFromFile"), dict(type="PackDetInputs")]
    dataset = ShapesDataset(
        data_root=str(data), ann_file="annotations/instances_train.json",
        data_prefix=dict(img="train/"), pipeline=pipeline,
    )  # fmt: skip
    if case.raises:
        with pytest.raises(UserError, match=rf"000003\.png .*{case.raises}"):
            dataset[2]
        return
    sample = dataset[2]
    assert sample["inputs"].shape == (3, SIDE, SIDE)
    assert int(dataset._unreadable.sum()) == (case.says is not None)
    assert (sample["data_samples"].img_path == str(path)) == (case.says is None)
    if case.says is not None:
        reason = unreadable.why_unreadable(str(path))
        assert case.says in reason
        dataset.max_unreadable, dataset._unreadable[:] = 0, False
        with pytest.raises(UserError, match=rf"000003\.png cannot be read: .*{case.says}"):
            dataset[2]


@pytest.mark.parametrize("case", SOURCES, ids=lambda case: case.name)
def test_checkpoints_of_others(case: BadSource, tmp_path: Path, repo: Path):
    """tools/convert_weights.py: one sentence, exit code 2, nothing run and nothing written."""
    path, out = tmp_path / case.file, tmp_path / "out"
    case.write(path)
    names = dict(file=path, out=out, yaml=path.with_suffix(".yaml"))
    args = [arg.format(**names) for arg in case.args.split()]
    code, output = run_tool(repo / "tools" / "convert_weights.py", args, tmp_path, SECONDS)
    assert "Traceback" not in output, output[-3000:]
    assert code == 2, output[-3000:]
    error = output[output.rindex("error: ") :]
    assert re.search(case.says, error, re.DOTALL), error
    assert not (tmp_path / "witness").exists() and not list(out.glob("*.pth"))


def test_there_are_many():
    assert len(CONFIGS) + len(IMAGES) + len(SOURCES) >= 60

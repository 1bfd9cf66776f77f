"""Options of the tools: what they change in a config, and what they refuse."""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path

import pytest
import torch
from forked import run_tool
from mmengine.config import Config

from mmdet_maskr.cli.arguments.common import add_config_arguments
from mmdet_maskr.engine import launch, options, signals
from mmdet_maskr.engine.data_root import replace_data_root
from mmdet_maskr.errors import UserError


def arguments(config: Path, *args: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("config")
    add_config_arguments(parser)
    return parser.parse_args([str(config), *args])


@pytest.fixture
def config_file(repo: Path) -> Path:
    return repo / "configs" / "mini" / "maskr_coco_mini.py"


@pytest.mark.parametrize("option", [["--data-root"], ["--cfg-options"]])
@pytest.mark.parametrize("root", ["/photos", "../photos/"])
def test_data_root_is_replaced_everywhere(config_file: Path, option: list[str], root: str):
    value = root if option == ["--data-root"] else f"data_root={root}"
    cfg = options.load_config(arguments(config_file, *option, value))
    prefix = root.rstrip("/") + "/"
    for split, year in (("train", "train2017"), ("val", "val2017"), ("test", "val2017")):
        dataset = cfg[f"{split}_dataloader"].dataset
        assert dataset.data_root == prefix
        assert dataset.ann_file == f"annotations/instances_{year}.json"
        assert dataset.data_prefix.img == f"{year}/"
    for split in ("val", "test"):
        expected = prefix + "annotations/instances_val2017.json"
        assert cfg[f"{split}_evaluator"].ann_file == expected


def test_data_root_is_replaced_inside_wrappers():
    cfg = Config(
        dict(
            train_dataloader=dict(
                dataset=dict(
                    type="ConcatDataset",
                    datasets=[dict(data_root="data/a"), dict(data_root="data/ab/")],
                )
            ),
            test_evaluator=[dict(ann_file="data/a/x.json"), dict(ann_file="elsewhere.json")],
        )
    )
    replace_data_root(cfg, "data/a/", "/new")
    datasets = cfg.train_dataloader.dataset.datasets
    assert [dataset.data_root for dataset in datasets] == ["/new/", "data/ab/"]
    assert [e.ann_file for e in cfg.test_evaluator] == ["/new/x.json", "elsewhere.json"]


@pytest.mark.parametrize("old", ["", ".", "./"])
def test_empty_data_root_is_replaced(old: str):
    """Nothing but relative paths changes, though any text begins with an empty one."""
    train = dict(type="CocoDataset", data_root=old, ann_file="a.json", data_prefix=dict(img="a/"))
    without = dict(type="CocoDataset", ann_file="b.json", pipeline=[dict(type="PackDetInputs")])
    cfg = Config(
        dict(
            train_dataloader=dict(
                sampler=dict(type="DefaultSampler"),
                dataset=dict(type="ConcatDataset", datasets=[train, without]),
            ),
            val_dataloader=dict(dataset=dict(type="CocoDataset", data_root="/there/")),
            test_evaluator=[
                dict(type="CocoMetric", metric="bbox", ann_file=os.path.join(old, "x/a.json")),
                dict(ann_file="/there/a.json", keypoint_ann_file="k.json", seg_prefix="./s/"),
            ],
        )
    )
    replace_data_root(cfg, old, "/new")
    assert cfg.train_dataloader.sampler.type == "DefaultSampler"
    datasets = cfg.train_dataloader.dataset.datasets
    assert datasets[0] == dict(train, data_root="/new/")
    assert datasets[1] == dict(without, data_root="/new/")
    assert cfg.val_dataloader.dataset.data_root == "/there/"
    assert cfg.test_evaluator[0] == dict(type="CocoMetric", metric="bbox", ann_file="/new/x/a.json")
    assert cfg.test_evaluator[1] == dict(
        ann_file="/there/a.json", keypoint_ann_file="/new/k.json", seg_prefix="/new/s/"
    )


def test_data_root_is_found_however_it_is_written():
    """./data/coco and data//coco are data/coco; data/coco_mini is not."""
    files = ["./data/coco/a.json", "data//coco/b/", "./data/coco", "data/coco_mini/c.json",
             "data/coco/../d.json"]  # fmt: skip
    cfg = Config(dict(test_evaluator=[dict(ann_file=file) for file in files]))
    replace_data_root(cfg, "data/coco/", "/new")
    assert [evaluator.ann_file for evaluator in cfg.test_evaluator] == [
        "/new/a.json", "/new/b/", "/new/", "data/coco_mini/c.json", "/new/../d.json",
    ]  # fmt: skip


def test_a_data_root_that_nothing_is_in_is_refused():
    """Folders that are written out elsewhere would be read in silence."""
    cfg = Config(dict(train_dataloader=dict(dataset=dict(data_root="pets/"))))
    with pytest.raises(UserError, match=r"in data_root='data/coco/', .* no effect"):
        replace_data_root(cfg, "data/coco/", "/new")
    assert cfg.train_dataloader.dataset.data_root == "pets/"


def test_work_dir_follows_mmdet(config_file: Path):
    assert options.load_config(arguments(config_file)).work_dir == "work_dirs/maskr_coco_mini"
    assert options.load_config(arguments(config_file, "--work-dir", "w")).work_dir == "w"


def test_lists_of_the_command_line_are_tuples_where_the_config_has_them(tmp_path: Path):
    file = tmp_path / "c.py"
    file.write_text("train_cfg = dict(steps=[dict(scale=(3, 4), ids=[1])])\n")
    words = ["train_cfg.steps.0.scale=160,120", "train_cfg.steps.0.ids=5,6"]
    cfg = options.load_config(arguments(file, "--cfg-options", *words))
    assert cfg.train_cfg.steps[0].to_dict() == dict(scale=(160, 120), ids=[5, 6])


def test_config_without_data_root(tmp_path: Path):
    (tmp_path / "c.py").write_text("model = dict()\n")
    with pytest.raises(UserError, match=r"c\.py has no data_root"):
        options.load_config(arguments(tmp_path / "c.py", "--data-root", "x"))


@pytest.mark.parametrize(
    ("tool", "args", "message"),
    [
        ("train.py", ["none.py"], "error: there is no config file none.py."),
        ("test.py", ["{config}", "none.pth"], "error: there is no checkpoint none.pth."),
        ("test.py", ["{config}", "x", "--out", "x.txt"], "must end in .pkl or .pickle"),
        ("train.py", ["{config}", "--launcher", "slurm"], "--launcher slurm needs GPUs"),
        ("train.py", ["{config}", "--launcher", "pytorch"], "started by torchrun (bash tools/"),
        ("train.py", ["{config}", "--work-dir", "/proc/work"], "folder /proc/work cannot be wri"),
        ("train.py", ["{config}", "--data-root", "nowhere"], "there is no annotation file"),
        (
            "train.py",
            ["{config}", "--cfg-options", "trian_cfg.max_epochs=1"],
            "trian_cfg.max_epochs: the config has no trian_cfg: did you mean train_cfg?",
        ),
        (
            "train.py",
            ["{config}", "--cfg-options", "train_cfg.max_epochs"],
            "--cfg-options train_cfg.max_epochs: KEY=VALUE is wanted",
        ),
    ],
)
def test_tools_refuse(
    repo: Path, config_file: Path, tmp_path: Path, tool: str, args: list[str], message: str
):
    """The message alone, no traceback, and exit code 2."""
    given = [arg.format(config=config_file) for arg in args]
    code, output = run_tool(repo / "tools" / tool, given, tmp_path)
    assert code == 2, output
    assert message in output
    assert "Traceback" not in output


def test_work_dir_that_is_no_text(config_file: Path, tmp_path: Path, monkeypatch):
    """Logs and checkpoints hold its name, and both are UTF-8."""
    odd = os.fsencode(tmp_path) + b"/\xff"
    with pytest.raises(UserError, match=r"\\xff"):
        options.load_config(arguments(config_file, "--work-dir", os.fsdecode(odd)))
    os.mkdir(odd)
    monkeypatch.chdir(os.fsdecode(odd))
    with pytest.raises(UserError, match=r"\\xff"):
        options.load_config(arguments(config_file, "--work-dir", "work"))


@pytest.mark.parametrize(
    "layers",
    [
        [torch.nn.Conv2d(3, 4, 1), torch.nn.Conv2d(5, 4, 1)],
        [torch.nn.Linear(8, 4), torch.nn.Linear(5, 4)],
        [torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(5)],
        [torch.nn.Conv2d(3, 4, 1), torch.nn.GroupNorm(5, 5)],
    ],
    ids=lambda layers: type(layers[1]).__name__,
)
def test_widths_that_do_not_fit(layers: list, capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit) as ended:
        launch.run_tool(lambda: torch.nn.Sequential(*layers)(torch.zeros(2, 3, 8, 8)))
    assert ended.value.code == 2
    assert "parts of the model do not fit each other" in capsys.readouterr().err


@pytest.mark.parametrize("ours", [True, False])
def test_only_our_launcher_is_ended(monkeypatch: pytest.MonkeyPatch, ours: bool):
    """Another one's torchrun may have other work to do; the process that it ran for is over."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "29500")
    monkeypatch.setattr(launch, "end_with_parent", lambda number: None)
    launcher = os.getppid() if ours else os.getppid() + 1
    monkeypatch.setenv(signals.LAUNCHER, str(launcher))
    ended = []
    monkeypatch.setattr(signals.os, "kill", lambda pid, number: ended.append((pid, number)))

    def main() -> None:
        raise UserError("wrong")

    with pytest.raises(SystemExit) as left:
        launch.run_tool(main)
    assert left.value.code == 2
    assert ended == ([(os.getppid(), signal.SIGTERM)] if ours else [])


def test_a_launcher_of_others_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "29500")
    monkeypatch.setattr(launch, "end_with_parent", lambda number: None)
    monkeypatch.delenv(signals.LAUNCHER, raising=False)
    monkeypatch.setattr(signals.os, "kill", lambda *args: pytest.fail("a parent is signalled"))
    with pytest.raises(SystemExit):
        launch.run_tool(lambda: (_ for _ in ()).throw(UserError("wrong")))

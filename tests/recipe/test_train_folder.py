"""maskr train FOLDER: what it refuses, resumes and prints; from a folder to a model."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from recipe_cases import CPU, photos

from mmdet_maskr import pypi_weights
from mmdet_maskr.cli.parser import parser_of
from mmdet_maskr.datasets.formats.prepared import prepare
from mmdet_maskr.errors import UserError
from mmdet_maskr.models import EfficientNetLite
from mmdet_maskr.recipe import notes, run
from mmdet_maskr.recipe.facts import facts_of
from mmdet_maskr.recipe.outcome import table
from mmdet_maskr.recipe.record import finished, goes_on, write_finished, write_record
from mmdet_maskr.recipe.starting import start_of


def test_the_same_command_goes_on(tmp_path: Path):
    work, config = tmp_path / "work", tmp_path / "work/recipe/work.py"
    assert not goes_on(work, config, "a", {})
    config.parent.mkdir(parents=True)
    config.write_text("model = 1")
    write_record(config.parent, "a", dict(minutes=2.0))
    assert goes_on(work, config, "a", dict(minutes=2.0))
    assert not goes_on(work, config, "b", dict(minutes=2.0))  # nothing is trained yet
    (work / "iter_30.pth").touch()
    assert goes_on(work, config, "a", dict(minutes=2.0))
    with pytest.raises(UserError, match=r"--minutes was 2.0 and is 3.0.*another --work-dir"):
        goes_on(work, config, "a", dict(minutes=3.0))
    with pytest.raises(UserError, match=r"have changed since.*--weights .*iter_30.pth"):
        goes_on(work, config, "b", dict(minutes=2.0))
    assert finished(config.parent) is None
    write_finished(config.parent, 30)
    assert finished(config.parent) == 30
    write_record(config.parent, "b", {})  # another training
    assert finished(config.parent) is None
    config.unlink()
    with pytest.raises(UserError, match="checkpoints of another training"):
        goes_on(work, config, "a", dict(minutes=2.0))


def test_what_is_said(tmp_path: Path):
    root = photos(tmp_path / "photos", count=6)
    (root / "5.png").write_bytes((root / "0.png").read_bytes())
    prepared = prepare(root)
    found = facts_of(prepared)
    text = notes.told(
        prepared, replace(found, counts=dict(leaf=5, stone=1), negatives=2, masks=0.5)
    )
    for part in (
        "COCO, ",
        "2 photos without objects",
        "class 'stone' has one training object",
        "only 6 photos",
    ):
        assert part in text


def test_table():
    scores = {"coco/bbox_mAP": 0.5, "coco/bbox_mAP_s": -1.0, "coco/leaf_precision": 0.25}
    scores |= {"coco/bud_precision": float("nan"), "coco/stem_precision": 0.75}
    lines = table(scores).splitlines()
    assert lines[1].split() == ["box", "50.0", "-", "-", "-", "-", "-"]
    classes = [line.split() for line in lines[2:]]
    assert classes == [["stem", "75.0"], ["leaf", "25.0"], ["bud", "-"]]


def arguments(line: str) -> argparse.Namespace:
    return parser_of("train", "maskr train").parse_args(shlex.split(line))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--classes leaf,Stone", r"'Stone' \(did you mean 'stone'"),
        ("--folds 1", "--folds 1: it must be 2 or more"),
        ("--launcher pytorch", "--launcher pytorch: a folder is trained by a single process"),
        ("--val 1.5", "val_share=1.5 must be between"),
        ("--val nowhere", "there is no folder or annotation file .*nowhere"),
        ("--format pdf", "there is no format 'pdf'"),
        ("--minutes -3", "--minutes -3.0: it must be greater than 0"),
        ("--minutes 1 --epochs 2", "--minutes and --epochs both"),
        ("--weights nowhere.pth", "nowhere.pth"),
        ("--flips up --epochs 1", "--flips up: it must be one of"),
    ],
)
def test_wrong_options(tmp_path: Path, options: str, message: str):
    root = photos(tmp_path / "photos", count=4)
    args = arguments(f"{root} --work-dir {tmp_path / 'work'} {options}")
    with pytest.raises(UserError, match=message):
        run.train_folder(args)
    assert not list((tmp_path / "work").rglob("*.pth"))


def test_folders_that_cannot_be_trained(tmp_path: Path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match="0 images and no annotations"):
        run.train_folder(arguments(f"{empty} --work-dir {tmp_path / 'work'}"))
    root = photos(tmp_path / "photos", count=4)
    (root / "2.png").write_bytes(b"no image")
    assert prepare(root).summary["unreadable"][0][0] == str(root / "2.png")  # left out
    for path in root.glob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(UserError, match="none of the 4 photos can be decoded completely"):
        run.train_folder(arguments(f"{root} --work-dir {tmp_path / 'work'}"))
    only = photos(tmp_path / "one", count=1)
    with pytest.raises(UserError, match="1 photos look alike"):
        run.train_folder(arguments(f"{only} --work-dir {tmp_path / 'work'}"))


@pytest.mark.parametrize(("width", "small"), [(32, True), (64, False)])
def test_whose_weights_they_are(tmp_path: Path, width: int, small: bool):
    path = tmp_path / "a.pth"
    torch.save(dict(state_dict={"backbone.conv1.weight": torch.zeros(width, 3, 7, 7)}), path)
    assert start_of(CPU, str(path))[::3] == (str(path), small)
    assert start_of(CPU, "none") == start_of(CPU, None)._replace(
        reason="none, because of --weights none"
    )


def test_light_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """ImageNet's weights for its backbone, or those of an earlier training of it."""
    monkeypatch.setattr(pypi_weights, "packaged_file", lambda name: tmp_path / "weights.pth")
    start = start_of(CPU, "pypi://efficientnet-lite0")
    assert start[:2] == (None, "pypi://efficientnet-lite0") and start.small
    assert Config.fromfile(start.config).model.backbone.arch == "lite0"
    with pytest.raises(UserError, match="light models start from pypi://efficientnet-lite0 or"):
        start_of(CPU, "pypi://efficientnet-lite1")
    root, work = photos(tmp_path / "photos", count=6), tmp_path / "work"
    monkeypatch.setattr(run, "build_runner", lambda *args, **options: pytest.fail("it trains"))
    line = f"{root} --work-dir {work} --weights pypi://efficientnet-lite0"
    with pytest.raises(pytest.fail.Exception, match="it trains"):
        run.train_folder(arguments(line))
    cfg = Config.fromfile(next((work / "recipe").glob("work.py")))
    assert cfg.model.backbone.type == "EfficientNetLite" and cfg.load_from is None
    assert cfg.model.backbone.init_cfg.checkpoint == "pypi://efficientnet-lite0"
    head = MODELS.build(cfg.model).roi_head
    assert head.mask_head.num_classes == head.bbox_head.num_classes == 2
    assert cfg.model.neck.num_outs == len(cfg.model.rpn_head.anchor_generator.strides)
    lite2 = EfficientNetLite("lite2")
    state = {f"backbone.{name}": value for name, value in lite2.state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / "a.pth")
    again = start_of(CPU, str(tmp_path / "a.pth"))
    assert again[:2] == (str(tmp_path / "a.pth"), None) and again.small
    assert Config.fromfile(again.config).model.backbone.arch == "lite2"
    with pytest.raises(pytest.fail.Exception, match="it trains"):
        run.train_folder(
            arguments(f"{root} --work-dir {tmp_path / 'b'} --weights {tmp_path}/a.pth")
        )
    cfg = Config.fromfile(next((tmp_path / "b" / "recipe").glob("b.py")))
    assert cfg.model.backbone.init_cfg is None and cfg.load_from == str(tmp_path / "a.pth")


@pytest.mark.slow
def test_from_a_folder_to_a_model(tmp_path: Path, capsys: pytest.CaptureFixture):
    root, work = photos(tmp_path / "photos", count=6), tmp_path / "work"
    line = f"{root} --work-dir {work} --epochs 4 --cfg-options train_dataloader.num_workers=0 "
    line += "train_dataloader.persistent_workers=False val_dataloader.num_workers=0 "
    line += "val_dataloader.persistent_workers=False"
    run.train_folder(arguments(line))
    said = capsys.readouterr().out
    best = next(work.glob("best_*.pth"))
    assert str(best) in said
    assert (work / "report.html").is_file()
    assert "mask" in said
    config = work / "recipe" / "work.py"
    assert config.is_file()
    assert (work / "work.py").is_file()  # what was trained, whole
    before, logs = best.stat().st_mtime_ns, len(list(work.glob("*/*.log")))
    run.train_folder(arguments(line))  # is done
    assert best.stat().st_mtime_ns == before
    assert len(list(work.glob("*/*.log"))) == logs  # nothing was built
    again = capsys.readouterr().out
    assert "is finished, with 5 iterations" in again
    assert "nothing is left" not in again and "Loads checkpoint" not in said + again
    assert said.partition("AP50")[2].partition("report")[0] in again
    with pytest.raises(UserError, match=r"--epochs was 4.0 and is 9.0"):
        run.train_folder(arguments(line.replace("--epochs 4", "--epochs 9")))

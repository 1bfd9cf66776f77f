"""A toy table: its rows train by counting, with checkpoints, in fractions of a second."""

from __future__ import annotations

import json
from pathlib import Path

from mmdet_maskr.ablations.jobs import Settings
from mmdet_maskr.ablations.tables import Table, TableRow

EPOCHS, STEPS = 4, 10
CONFIG = """\
model = dict(gain={gain})
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs={epochs})
"""
# Stands in for tools/train.py: takes its options, goes on from the newest checkpoint with
# --resume, and appends a line to the ledger for each step that it really does.
TRAIN = """\
import argparse, json, os, pathlib, runpy, sys, time

parser = argparse.ArgumentParser()
parser.add_argument("config")
parser.add_argument("--work-dir", type=pathlib.Path)
parser.add_argument("--resume", action="store_true")
parser.add_argument("--data-root")
parser.add_argument("--cfg-options", nargs="+")
args = parser.parse_args()
options = dict(option.split("=", 1) for option in args.cfg_options)
cfg = runpy.run_path(args.config)
gain, epochs = cfg["model"]["gain"], cfg["train_cfg"]["max_epochs"]
args.work_dir.mkdir(parents=True, exist_ok=True)
state = dict(epoch=0, value=int(options["randomness.seed"]) * 7919 + 1)
if "load_from" in options:
    state["value"] += json.loads(pathlib.Path(options["load_from"]).read_text())["value"]
newest = args.work_dir / "last_checkpoint"
if args.resume:
    state = json.loads(pathlib.Path(newest.read_text()).read_text())
if gain < 0:
    print("error: a gain of", gain)
    sys.exit(2)
ledger = os.open(args.work_dir / "ledger", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
while state["epoch"] < epochs:
    for step in range(1, 11):
        time.sleep(0.005)
        state["value"] = (state["value"] * 1103515245 + gain) % 2**31
        os.write(ledger, b"%d\\n" % os.getpid())
        epoch = state["epoch"] + 1
        print(f"Epoch(train) [{epoch}][{step:3}/10]  lr: 1e-3  eta: 0:00:01  time: 0.005")
        sys.stdout.flush()
    state["epoch"] += 1
    file = args.work_dir / f"epoch_{state['epoch']}.pth"
    file.with_suffix(".partial").write_text(json.dumps(state))
    file.with_suffix(".partial").replace(file)
    newest.with_suffix(".partial").write_text(str(file))
    newest.with_suffix(".partial").replace(newest)
"""
TEST = """\
import json, pathlib, sys, time

checkpoint, work_dir = pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[4])
state = json.loads(checkpoint.read_text())
time.sleep(0.02)
file = work_dir / str(time.time_ns()) / "metrics.json"
file.parent.mkdir(parents=True)
ap = state["value"] % 1000 / 1000
scores = {"coco/segm_mAP": ap, "coco/segm_mAP_75": ap / 2, "coco/bbox_mAP": -1.0}
file.write_text(json.dumps(scores))
"""


def make_repo(folder: Path, gains: dict[str, int]) -> Path:
    """A checkout with a config for each row and toy tools."""
    for name, text in (("train", TRAIN), ("test", TEST)):
        file = folder / "tools" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (folder / "configs").mkdir()
    for name, gain in gains.items():
        file = folder / "configs" / f"{name}.py"
        file.write_text(CONFIG.format(gain=gain, epochs=EPOCHS))
    return folder


def make_table(rows: list[str], **options) -> Table:
    """A table with the rows' configs, the first row being the baseline."""
    return Table(
        name="toy",
        title="Counting",
        columns={"AP": "segm_mAP", "AP75": "segm_mAP_75"},
        rows=tuple(
            TableRow(name, f"{name}.py", f"{name}.py", **options.get(name, {})) for name in rows
        ),
        baseline=rows[0],
        paper={rows[0]: {"AP": 30.0, "AP75": 31.0}, rows[1]: {"AP": 26.5, "AP75": 25.0}},
    )


def settings(repo: Path, work_dir: Path) -> Settings:
    return Settings(repo, "mini", work_dir)


def steps_done(work_dir: Path) -> int:
    """Training steps that were done in all, those that were lost again included."""
    return sum(len(file.read_text().split()) for file in work_dir.rglob("ledger"))


def trainers(work_dir: Path) -> set[int]:
    """Processes that have trained."""
    files = work_dir.rglob("ledger")
    return {int(pid) for file in files for pid in file.read_text().split()}


def without_seconds(results: Path) -> list[dict]:
    records = json.loads(results.read_text())
    return [{key: value for key, value in record.items() if key != "seconds"} for record in records]

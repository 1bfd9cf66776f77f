"""The tutorial's steps, as docs/tutorial.md explains them: from a COCO JSON to a model in use.

Without --data it writes a stand-in for photos of yours: synthetic shapes of three classes, with two
mistakes in the annotations, as real ones have them. Runs on a CPU.

Examples:
    python docs/tutorial/own_dataset.py
    python docs/tutorial/own_dataset.py --data pets --classes cat,dog --iterations 2000
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mmdet_maskr.datasets import shapes
from mmdet_maskr.engine.launch import run_tool
from mmdet_maskr.errors import UserError

REPO = Path(__file__).resolve().parents[2]
CLASSES = ("disc", "box", "triangle")  # of the stand-in
CONFIG = """\
_base_ = '{base}'
data_root = '{data}/'
metainfo = dict(classes={classes})
train_dataloader = dict(dataset=dict(
    data_root=data_root, metainfo=metainfo,
    ann_file='clean.json', data_prefix=dict(img='images/')))
val_dataloader = dict(dataset=dict(
    data_root=data_root, metainfo=metainfo,
    ann_file='val.json', data_prefix=dict(img='images/')))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'val.json')
test_evaluator = val_evaluator
model = dict(roi_head=dict(
    bbox_head=dict(num_classes={count}), mask_head=dict(num_classes={count})))
train_cfg = dict(max_iters={iterations}, val_interval={iterations})
param_scheduler = _base_.param_scheduler  # warm-up and learning rate schedule
param_scheduler[1].update(end={iterations}, T_max={iterations})
"""


class Step(NamedTuple):
    """A command of the tutorial.

    Attributes:
        title: what it does.
        command: a tool of this repository and its options.
        accepted: exit codes that are no failure; check_dataset.py has 1 for errors in the data.
    """

    title: str
    command: Sequence[str]
    accepted: tuple[int, ...] = (0,)


def steps(data: Path, config: Path, out: Path, iterations: int) -> list[Step]:
    """The commands in their order; a further one is a further line."""
    checkpoint = str(out / f"iter_{iterations}.pth")
    train, val, images = (str(data / name) for name in ("train.json", "val.json", "images"))
    clean = str(data / "clean.json")
    check = ("tools/check_dataset.py", train, images)
    return [
        Step("check the annotations", (*check, "--fix", clean), (0, 1)),
        Step("check the copy", ("tools/check_dataset.py", clean, images, "--config", str(config))),
        Step("check the validation set", ("tools/check_dataset.py", val, images)),
        Step("train", ("tools/train.py", str(config), "--work-dir", str(out), "--resume")),
        Step("test, and draw", ("tools/test.py", str(config), checkpoint, "--work-dir",
                                str(out / "test"), "--show-dir", "pictures")),
        Step("compare", ("tools/compare.py", "--models", f"{config}:{checkpoint}", "--images",
                         images, "--ann", val, "--out", str(out / "compare.html"))),
        Step("export", ("tools/export.py", str(config), checkpoint, str(out / "exported"),
                        "--format", "torchscript", "--images", images)),
    ]  # fmt: skip


def make_photos(data: Path, images: int, val_images: int) -> None:
    """Write the stand-in: images/, train.json with two mistakes, val.json.

    A box of no area in the first image, and an image that is listed but not there.
    """
    drawn = shapes.write_dataset(data / "drawn", images, val_images, size=128)
    folder = data / "images"
    folder.mkdir(exist_ok=True)
    for split in shapes.SPLITS:
        content = json.loads((drawn / "annotations" / f"instances_{split}.json").read_text())
        kept = [c for c in content["categories"] if c["name"] in CLASSES]
        ids = {category["id"] for category in kept}
        annotations = [a for a in content["annotations"] if a["category_id"] in ids]
        for image in content["images"]:
            source = drawn / split / image["file_name"]
            image["file_name"] = f"{split}_{image['file_name']}"
            (folder / image["file_name"]).write_bytes(source.read_bytes())
        if split == "train":
            annotations[0]["bbox"][2:] = [0, 0]
            content["images"].append(dict(content["images"][0], id=999, file_name="lost.png"))
        content.update(categories=kept, annotations=annotations)
        (data / f"{split}.json").write_text(json.dumps(content))


def write_config(data: Path, out: Path, classes: Sequence[str], iterations: int) -> Path:
    """Write the config and return its path."""
    out.mkdir(parents=True, exist_ok=True)
    text = CONFIG.format(
        base=REPO / "configs" / "mini" / "maskr_coco_mini.py",
        data=data,
        classes=tuple(classes),
        count=len(classes),
        iterations=iterations,
    )
    path = out / "own.py"
    path.write_text(text, encoding="utf-8")
    return path


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, help="folder with train.json, val.json and images/")
    add("--classes", default=",".join(CLASSES), help="names of the classes (%(default)s)")
    add("--out", type=Path, default=Path("work_dirs/tutorial"), help="of results (%(default)s)")
    add("--iterations", type=int, default=300, help="of 4 images each (default: 300)")
    add("--images", type=int, default=120, help="training images of the stand-in (default: 120)")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    data = args.data
    if data is None:
        data = args.out / "photos"
        data.mkdir(parents=True, exist_ok=True)
        make_photos(data, args.images, max(args.images // 4, 4))
    missing = [name for name in ("train.json", "val.json", "images") if not (data / name).exists()]
    if missing:
        raise UserError(f"--data {data} lacks {missing}.")
    config = write_config(data, args.out, args.classes.split(","), args.iterations)
    print(f"\n== config: {config}\n\n{config.read_text()}", flush=True)
    for step in steps(data, config, args.out, args.iterations):
        print(f"\n== {step.title}\n$ python {' '.join(step.command)}", flush=True)
        tool, *options = step.command
        code = subprocess.run([sys.executable, str(REPO / tool), *options]).returncode
        if code not in step.accepted:
            raise UserError(f"{tool} ended with exit code {code}; its output is above.")
    print(f"\ncheckpoint, log and pictures: {args.out}")


if __name__ == "__main__":
    run_tool(main)

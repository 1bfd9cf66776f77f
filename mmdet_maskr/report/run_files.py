"""The inputs of a report: files of the run, its datasets, and detections."""

from __future__ import annotations

import contextlib
import copy
import io
import platform
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import init_default_scope

from mmdet_maskr.datasets import wrappers
from mmdet_maskr.engine.config_reading import read_config
from mmdet_maskr.errors import UserError


@dataclass(frozen=True)
class Speed:
    """How long detecting took.

    Args:
        seconds: of all images, from the file to the masks.
        images: how many.
        device: a name.
    """

    seconds: float
    images: int
    device: str


def find_config(work_dir: Path) -> Path:
    """The config that a training left in its work dir, the newest of several.

    Raises:
        UserError: there is none.
    """
    found = sorted(work_dir.glob("*.py"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise UserError(
            f"{work_dir.absolute()} has no config: pass the work dir of a training, or "
            "use --config."
        )
    return found[-1]


def find_checkpoint(work_dir: Path) -> Path:
    """The best checkpoint of a training, or else its last one.

    Raises:
        UserError: there is none.
    """
    best = sorted(work_dir.glob("best_*.pth"), key=lambda path: path.stat().st_mtime)
    if best:
        return best[-1]
    pointer = work_dir / "last_checkpoint"
    if pointer.is_file():
        last = Path(pointer.read_text().strip())
        for path in (last, work_dir / last.name):  # the folder may have been moved
            if path.is_file():
                return path
    others = sorted(work_dir.glob("*.pth"), key=lambda path: path.stat().st_mtime)
    if not others:
        raise UserError(
            f"{work_dir.absolute()} has no checkpoint: pass the work dir of a training, "
            "or use --checkpoint."
        )
    return others[-1]


def read_run_config(path: Path) -> Config:
    """A config, ready to build its datasets."""
    cfg = read_config(str(path))
    init_default_scope(cfg.get("default_scope", "mmdet"))
    return cfg


def most_detections(cfg: Config) -> int | None:
    """Most detections that the model gives for an image; None where the config is silent."""
    rcnn = (cfg.get("model", {}).get("test_cfg") or {}).get("rcnn") or {}
    return rcnn.get("max_per_img")


def build_dataset(cfg: Config, split: str) -> Any | None:
    """A built dataset of 'train', 'val' or 'test'; None where the config has none."""
    loader = cfg.get(f"{split}_dataloader")
    if not loader:
        return None
    options = copy.deepcopy(loader.dataset)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints while it reads
        dataset = DATASETS.build(options)
        wrappers.prepare(dataset)
    return dataset


def the_leaf(dataset: Any) -> BaseDataset:
    """The one dataset that is scored.

    Raises:
        UserError: there are several, or it has no annotation file of COCO's.
    """
    leaves = list(wrappers.leaves(dataset))
    if len(leaves) != 1 or not str(getattr(leaves[0], "ann_file", "")).endswith(".json"):
        raise UserError(
            "a report needs a test_dataloader with one dataset that has a COCO annotation file."
        )
    return leaves[0]


def detect(
    config: Path, checkpoint: Path, leaf: BaseDataset, out_file: Path, device: str | None = None
) -> Speed:
    """Detect on all images of a dataset, and write COCO results.

    Args:
        config: of the model.
        checkpoint: its weights.
        leaf: the dataset.
        out_file: for boxes, masks and keypoints.
        device: None for the first accelerator, or the CPU.

    Returns:
        Seconds for all images and how many they are; one detection before them warms up.

    Raises:
        UserError: the dataset lists no image; what loading the model finds.
    """
    from mmdet_maskr.apis import MaskRInferencer  # with the whole of mmdet

    inferencer = MaskRInferencer(str(config), str(checkpoint), device=device)
    paths = [leaf.get_data_info(index)["img_path"] for index in range(len(leaf))]
    if not paths:
        raise UserError(f"{leaf.ann_file} has no images.")
    inferencer(paths[0], no_save_vis=True)  # the first call allocates and chooses kernels
    started = time.perf_counter()
    inferencer(paths, no_save_vis=True, coco_json=str(out_file), ann_file=str(leaf.ann_file))
    seconds = time.perf_counter() - started
    return Speed(seconds, len(paths), _device_of(inferencer.model))


def _device_of(model: torch.nn.Module) -> str:
    device = next(model.parameters()).device
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{device.type} ({platform.machine()}, {threads} thread{'s' * (threads > 1)})"


def commands(config: Path, checkpoint: Path, work_dir: Path) -> Sequence[tuple[str, str]]:
    """How the model is used: what for, and the command."""
    model = f"--weights {_word(checkpoint)} --config {_word(config)}"
    exported = _word(work_dir / "exported")
    return (
        ("Detect on photos", f"maskr predict PHOTOS {model} --out-dir found"),
        (
            "Export",
            f"maskr export {_word(config)} {_word(checkpoint)} {exported} --format onnx",
        ),
        ("Train on", f"maskr train {_word(config)} --work-dir {_word(work_dir)} --resume"),
    )


def _word(path: Path) -> str:
    """A path as a word of a command line."""
    return shlex.quote(str(path))

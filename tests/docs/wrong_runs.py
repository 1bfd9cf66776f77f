"""Run what docs/troubleshooting.md describes, and print as JSON what the tools say each time.

Started by test_troubleshooting.py in a folder with configs, data/shapes and tools: a process of its
own, as runs that end early leave threads behind.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from mmdet_maskr import compat
from mmdet_maskr.engine.launch import run_tool
from mmdet_maskr.errors import UserError
from mmdet_maskr.ops import mmcv_ext

CONFIG = "configs/mini/maskr_shapes.py"
IN_PROCESS = [
    f"{split}_dataloader.{option}"
    for split in ("train", "val")
    for option in ("num_workers=0", "persistent_workers=False")
]


def said_by(main: Callable[[], None]) -> str:
    """What a tool prints on its way out, or the exception that it ends with."""
    with tempfile.TemporaryFile("w+") as said, contextlib.redirect_stdout(io.StringIO()):
        with contextlib.redirect_stderr(said):  # a real file, as faulthandler needs one
            try:
                run_tool(main)
            except SystemExit:
                pass
            except Exception as error:
                return f"{type(error).__name__}: {error}"
        said.seek(0)
        text = said.read()
    return text[text.index("error: ") :]


def train(*settings: str, data_root: str = "data/shapes") -> str:
    """tools/train.py with these --cfg-options."""
    spec = importlib.util.spec_from_file_location("train_tool", "tools/train.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    options = ["--data-root", data_root, "--work-dir", "work_dirs/run", "--cfg-options"]
    sys.argv = ["train.py", CONFIG, *options, *settings, *IN_PROCESS]
    return said_by(tool.main)


def check_dependencies() -> str:
    try:
        compat.check_dependencies()
    except ImportError as error:
        return f"ImportError: {error}"
    return "no error"


def mmcv_of_another_version() -> str:
    true = compat.installed_version
    compat.installed_version = lambda name: "2.2.0" if name == "mmcv" else true(name)
    try:
        return check_dependencies()
    finally:
        compat.installed_version = true


def op_without_a_version_in_python() -> str:
    try:
        mmcv_ext.find("carafe_forward")
    except UserError as error:
        return f"error: {error}"
    return "no error"


def annotation_without_mask() -> str:
    content = json.loads(Path("data/shapes/annotations/instances_train.json").read_text())
    for annotation in content["annotations"]:
        del annotation["segmentation"]
    Path("data/shapes/annotations/boxes.json").write_text(json.dumps(content))
    dataset = "train_dataloader.dataset"
    return train(
        f"{dataset}.ann_file=annotations/boxes.json", f"{dataset}.pipeline.1.poly2mask=True"
    )


def checkpoint_of_other_classes() -> str:
    model = Config.fromfile(CONFIG).model
    for head in ("bbox_head", "mask_head"):
        model.roi_head[head].num_classes = 80
    torch.save(dict(state_dict=MODELS.build(model).state_dict()), "coco.pth")
    return train("load_from=coco.pth")


def plain_classes(names: str) -> str:
    dataset = "train_dataloader.dataset"
    return train(f"{dataset}.type=CocoInstanceDataset", f"{dataset}.metainfo.classes={names}")


def main() -> None:
    heads = [f"model.roi_head.{head}.num_classes=80" for head in ("bbox_head", "mask_head")]
    said = {
        "mmcv-version": mmcv_of_another_version(),
        "mmcv-ext": op_without_a_version_in_python(),
        "registry": train("model.roi_head.type=ParalelRoIHead"),
        "num-classes": train(*heads),
        "empty": plain_classes("[cat,dog]"),
        "empty-misspelt": plain_classes("[disc,traingle]"),
        "nan": train("optim_wrapper.optimizer.lr=1e30"),
        "mask": annotation_without_mask(),
        "file": train(data_root="data/nowhere"),
        "size-mismatch": checkpoint_of_other_classes(),
        "memory": said_by(lambda: torch.empty(10**15)),
    }
    Path("said.json").write_text(json.dumps(said))


if __name__ == "__main__":
    main()

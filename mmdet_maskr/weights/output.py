"""A converted checkpoint as files: config and weights."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from torch import Tensor

from mmdet_maskr.catalogue.files import configs_dir
from mmdet_maskr.engine.trained_input import KEY, input_of
from mmdet_maskr.errors import UserError
from mmdet_maskr.safe_configs import read_literals
from mmdet_maskr.weights.config_file import Name, comment, difference, same, write_settings

FPN_BASE = ("maskr_r50_fpn_1x.py",)
KEYPOINT_BASE = ("maskr_keypoint_r50_fpn_90k.py",)
KEYPOINT_MASK_BASE = ("maskr_keypoint_mask_r50_fpn_90k.py",)
JOINT_BASE = ("maskr_joint_r50_fpn_1x.py",)  # keypoints of persons, masks of 80 classes
PANOPTIC_BASE = ("compositions/panoptic_fpn_r50_fpn_1x.py",)
C4_BASE = (
    "_base_/models/maskr_r50_c4.py",
    "_base_/datasets/coco_instance.py",
    "_base_/schedules/schedule_1x.py",
    "_base_/default_runtime.py",
)
_PLAIN_NAME = re.compile(r"[^'\"\\\x00-\x1f{}]*")


@dataclass
class Conversion:
    """A converted checkpoint.

    Args:
        base: config files that the config inherits from, in ``configs/``.
        settings: the config, as far as it may differ from ``base``.
        state: the weights by the names here.
        dropped: source tensors that were left out, with the reason.
        source: one line that says where it is from.
        source_labels: for each class here its index in the source's logits.
        source_background: index of the background in the source's class logits.
        notes: what the user should know.
    """

    base: tuple[str, ...]
    settings: dict[str, Any]
    state: dict[str, Tensor]
    dropped: dict[str, str]
    source: str
    source_labels: list[int]
    source_background: int
    notes: list[str] = field(default_factory=list)


def base_settings(base: Sequence[str]) -> dict[str, Any]:
    """All settings of the base files, as plain dictionaries.

    Raises:
        UserError: the configs are not there.
    """
    settings: dict[str, Any] = {}
    for name in base:
        settings.update(Config.fromfile(configs_dir() / name).to_dict())
    settings.pop("load_from", None)  # the generated config has its own
    return settings


def with_pipelines(
    settings: dict[str, Any], pipelines: Mapping[str, list[dict]], classes: Sequence[str] | None
) -> dict[str, Any]:
    """Settings with other pipelines, and other classes, in all data loaders.

    Args:
        settings: of a base.
        pipelines: ``train_pipeline`` and ``test_pipeline``; empty to keep those of ``settings``.
        classes: names for ``metainfo``; None for the dataset's own.
    """
    changed = copy.deepcopy(settings)
    changed.update(copy.deepcopy(dict(pipelines)))
    for split in ("train", "val", "test"):
        dataset = changed[f"{split}_dataloader"]["dataset"]
        if pipelines:
            name = "train_pipeline" if split == "train" else "test_pipeline"
            dataset["pipeline"] = copy.deepcopy(pipelines[name])
        if classes is not None:
            dataset["metainfo"] = dict(classes=tuple(classes))
    return changed


def build(model_cfg: Mapping[str, Any]) -> torch.nn.Module:
    """The model of a config, in evaluation mode.

    Raises:
        UserError: options that contradict each other.
    """
    init_default_scope("mmdet")
    return MODELS.build(ConfigDict(copy.deepcopy(dict(model_cfg)))).eval()


def config_text(conversion: Conversion, folder: Path) -> str:
    """Source of the generated config.

    Args:
        conversion: what to write.
        folder: where the config will lie; bases inside of the same checkout are named relative to
            it, so that the checkout can be moved.
    """
    base = base_settings(conversion.base)
    changed = difference(base, conversion.settings)
    pipelines = {n: changed.pop(n) for n in ("train_pipeline", "test_pipeline") if n in changed}
    for split in ("train", "val", "test"):
        dataset = changed.get(f"{split}_dataloader", {}).get("dataset", {})
        for name, pipeline in pipelines.items():
            if same(dataset.get("pipeline"), pipeline):
                dataset["pipeline"] = Name(name)
    val, test = (changed.get(f"{split}_dataloader") for split in ("val", "test"))
    if val is not None and same(val, test):
        changed["test_dataloader"] = Name("val_dataloader")
    folder = folder.resolve()
    paths = [str(configs_dir() / name) for name in conversion.base]
    if folder.is_relative_to(configs_dir().parent):
        paths = [os.path.relpath(path, folder) for path in paths]
    head = dict(_base_=paths if len(paths) > 1 else paths[0])
    tail = dict(load_from=Name("'{{ fileDirname }}/model.pth'"))
    if not _PLAIN_NAME.fullmatch(str(folder)):  # it would end the text that it is put into
        tail = dict(load_from=str(folder / "model.pth"))
    head_line = comment(f"{conversion.source}, converted by maskr convert-weights.")
    model = dict(model=changed.pop("model")) if "model" in changed else {}
    blocks: list[dict] = [head, model, pipelines, changed, tail]
    return head_line + "\n".join(write_settings(block) for block in blocks if block)


def whole_text(conversion: Conversion, weights: str, title: str) -> str:
    """Source of a config that inherits from nothing, and needs no other file but the weights.

    Args:
        conversion: what to write.
        weights: name of their file, which is next to the config.
        title: comment at the head.
    """
    settings = dict(conversion.settings, load_from=Name(f"'{{{{ fileDirname }}}}/{weights}'"))
    order = ["model", "train_pipeline", "test_pipeline"]
    first = {name: settings.pop(name) for name in order if name in settings}
    return comment(title) + write_settings({**first, **settings})


def meta_of(conversion: Conversion) -> dict[str, Any]:
    """``meta`` of a converted checkpoint."""
    return {
        "source": conversion.source,
        "source_labels": conversion.source_labels,
        "source_background": conversion.source_background,
        "dataset_meta": dataset_meta(conversion.settings["test_dataloader"]["dataset"]),
        KEY: input_of(conversion.settings["model"]),
    }


def save(conversion: Conversion, folder: str | Path) -> None:
    """Write ``config.py`` and ``model.pth``; the config is read again and must say the same.

    Raises:
        UserError: the folder cannot be written.
    """
    folder = Path(folder)
    text = config_text(conversion, folder)
    meta = meta_of(conversion)
    config, weights = folder / "config_part.py", folder / "model_part.pth"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        config.write_text(text, encoding="utf-8")
        read_literals(text, f"the generated config {config}", names=True)  # nothing else may run
        written = Config.fromfile(config).to_dict()
        differing = [k for k, v in conversion.settings.items() if not same(written.get(k), v)]
        if differing:
            raise RuntimeError(f"the generated config does not say what it should: {differing}")
        torch.save(dict(state_dict=conversion.state, meta=meta), weights)
        config.replace(folder / "config.py")
        weights.replace(folder / "model.pth")
    except (OSError, RuntimeError, UnicodeError) as error:
        raise UserError(f"{folder} cannot be written: {error}") from error
    finally:
        for part in (config, weights):
            part.unlink(missing_ok=True)


def dataset_meta(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """Names of classes and keypoints, where inference looks for them: in the checkpoint."""
    return dict(DATASETS.get(dataset["type"]).METAINFO, **dataset.get("metainfo", {}))


def load(folder: str | Path) -> torch.nn.Module:
    """The model that :func:`save` wrote, in evaluation mode."""
    folder = Path(folder)
    model = build(Config.fromfile(folder / "config.py").model)
    checkpoint = torch.load(folder / "model.pth", map_location="cpu", weights_only=True)
    model.load_state_dict(checkpoint["state_dict"])
    return model

"""One line about a config: backbone, heads, dataset, schedule."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import yaml
from mmdet.registry import DATASETS
from mmengine.config import Config

from mmdet_maskr.catalogue.complexity import (
    build_bare,
    count_operations,
    count_parameters,
    image_of,
)
from mmdet_maskr.catalogue.files import configs_dir
from mmdet_maskr.errors import MissingPackageError, UserError


class ConfigSummary(NamedTuple):
    """A config in the catalogue.

    Attributes:
        name: relative to the folder of configs, without ``.py``.
        backbone: backbone and neck.
        heads: branches on RoIs, and their detector where it is no Mask R-CNN.
        dataset: what it trains on.
        schedule: length, and images a batch.
        parameters: number of them.
        image: height and width that operations are counted for.
        operations: multiply-adds of an image, or None where they are not counted.
    """

    name: str
    backbone: str
    heads: str
    dataset: str
    schedule: str
    parameters: int
    image: tuple[int, int]
    operations: int | None


def describe(path: Path) -> ConfigSummary:
    """The row of one config; mmdet's scope must be the default one."""
    cfg = Config.fromfile(path)
    name = path.relative_to(configs_dir()).with_suffix("").as_posix()
    image = image_of(cfg)
    try:
        model = build_bare(cfg.model)
        parameters, operations = count_parameters(model), count_operations(model, image)
    except MissingPackageError:
        parameters, operations = recorded(name)
    return ConfigSummary(
        name=name,
        backbone=backbone_of(cfg),
        heads=heads_of(cfg),
        dataset=dataset_of(cfg),
        schedule=schedule_of(cfg),
        parameters=parameters,
        image=image,
        operations=operations,
    )


def recorded(name: str) -> tuple[int, int | None]:
    """Parameters and operations that the metafile has, for models of packages that are not there.

    Args:
        name: of the config.

    Raises:
        UserError: the metafile does not have the config.
    """
    text = (configs_dir() / "metafile.yml").read_text(encoding="utf-8")
    for model in yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))["Models"]:
        if model["Config"] == f"configs/{name}.py":
            return model["Metadata"]["Parameters"], model["Metadata"].get("FLOPs")
    raise UserError(
        f"configs/{name}.py is not in configs/metafile.yml: run python tools/make_model_index.py "
        "where its packages are installed."
    )


def dataset_of(cfg: Config) -> str:
    """What the class of the dataset calls itself, else its name."""
    kind = DATASETS.get(cfg.dataset_type)
    return getattr(kind, "TITLE", cfg.dataset_type.removesuffix("Dataset"))


def backbone_of(cfg: Config) -> str:
    """Type and size of the backbone, and the neck or the stage that is used without one."""
    backbone = cfg.model.backbone
    depths = "-".join(str(depth) for depth in backbone.get("depths", ()))
    size = backbone.get("arch") or backbone.get("model_name") or backbone.get("depth") or depths
    text = f"{backbone.type} {size}"
    if backbone.type == "ResNeXt":
        text += f" {backbone.groups}x{backbone.base_width}d"
    if backbone.get("dcn"):
        text += f" {backbone.dcn.type}"
    norm = backbone.get("norm_cfg", {}).get("type", "BN")
    if norm != "BN":
        text += f" {norm}"
    neck = cfg.model.get("neck")
    if neck:
        return f"{text}, {neck.type}"
    stage = backbone.out_indices[-1] + 2
    dilated = backbone.get("dilations", (1,))[-1] > 1
    return f"{text}, {'DC' if dilated else 'C'}{stage}"


def heads_of(cfg: Config) -> str:
    """Branches of the RoI head, such as 'box, mask'; the detector where it is another one."""
    roi_head = cfg.model.get("roi_head")
    if roi_head is None:
        return cfg.model.type
    branches = [
        key.removesuffix("_head").replace("bbox", "box")
        for key, value in roi_head.items()
        if key.endswith("_head") and key != "shared_head" and value is not None
    ]
    if "semantic_head" in cfg.model:
        branches.append("semantic")
    mask = roi_head.get("mask_head") or {}
    if isinstance(mask, dict):
        forms = [mask.get("tower", "fcn"), mask.get("activation", "sigmoid")]
        forms += ["class-agnostic"] if mask.get("class_agnostic") else []
        branches += [form for form in forms if form not in ("fcn", "sigmoid")]
    text = ", ".join(branches)
    plain = ("MaskRCNN", "FasterRCNN", "PanopticFPN")
    named = cfg.model.type if cfg.model.type not in plain else roi_head.type
    named = getattr(named, "__name__", named)  # configs with read_base hold the class
    return text if named == "ParallelRoIHead" else f"{text} ({named})"


def schedule_of(cfg: Config) -> str:
    """Such as '12 epochs x 16' (images a batch) or '90k iterations x 16'."""
    train = cfg.train_cfg
    if train.type == "EpochBasedTrainLoop":
        length = f"{train.max_epochs} epochs"
    else:
        length = f"{train.max_iters / 1000:g}k iterations"
    return f"{length} x {cfg.auto_scale_lr.base_batch_size}"


def size_of(row: ConfigSummary) -> str:
    """Width and height that operations are counted for, such as '1280x800'."""
    return f"{row.image[1]}x{row.image[0]}"


def gflops_of(row: ConfigSummary) -> str:
    """Operations in thousand millions, small ones with a digit more; '-' for None."""
    if row.operations is None:
        return "-"
    return f"{row.operations / 1e9:.{1 if row.operations < 2e10 else 0}f}"


def table(rows: list[ConfigSummary]) -> str:
    """The catalogue as text in columns."""
    cells = [("config", "backbone", "heads", "data", "schedule", "M params", "image", "GFLOPs")]
    for row in rows:
        cells.append((*row[:5], f"{row.parameters / 1e6:.1f}", size_of(row), gflops_of(row)))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for line in cells:
        left = [text.ljust(width) for text, width in zip(line[:5], widths[:5], strict=True)]
        right = [text.rjust(width) for text, width in zip(line[5:], widths[5:], strict=True)]
        lines.append("  ".join([*left, *right]).rstrip())
    return "\n".join(lines)

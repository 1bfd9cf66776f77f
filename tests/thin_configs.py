"""Configs with a fraction of the width and of the image size: the same parts, in milliseconds."""

from __future__ import annotations

import copy
import functools
from pathlib import Path

from mmengine.config import Config

from mmdet_maskr.catalogue import config_paths
from mmdet_maskr.engine.data_root import replace_data_root

ROOT = Path(__file__).resolve().parent.parent / "configs"
CONFIGS = [path.relative_to(ROOT).as_posix() for path in config_paths()]
FIXED = ("EfficientNetLite", "TimmBackbone")  # backbones without widths to divide
WIDTH = 8  # channels are divided by this
SIZE = 8  # image sizes are divided by this
WIDTHS = ("channels", "embed_dim", "embed_dims")  # endings of keys that hold channels
SIZES = ("scale", "scales", "crop_size", "size", "pad_size_divisor")
SMALLEST = 256  # smaller sizes are of patches, strides and kernels


def load(name: str) -> Config:
    """A config without pretrained weights, which are not there to be downloaded."""
    cfg = copy.deepcopy(with_weights(name))
    for part in walk(cfg.model):
        if isinstance(part.get("init_cfg"), dict) and part["init_cfg"]["type"] == "Pretrained":
            part["init_cfg"] = None
    cfg.load_from = None
    return cfg


@functools.cache
def with_weights(name: str) -> Config:
    """A config as it is written; not to be changed."""
    return Config.fromfile(ROOT / name)


def walk(value: object):
    """Every dictionary in nested dictionaries and lists."""
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from walk(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from walk(item)


def thin(cfg: Config, data_root: Path) -> Config:
    """Make a config small, in place: an eighth of the channels, and of the image sides.

    Args:
        cfg: from :func:`load`.
        data_root: the dataset to use instead of the config's.
    """
    backbone = cfg.model.backbone
    if backbone.type in ("ResNet", "ResNeXt"):
        backbone.setdefault("base_channels", 64)
        backbone.depth = min(backbone.depth, 50)
    if backbone.type == "ResNeXt":
        backbone.update(groups=2, base_width=4)
    for part in walk(cfg.model):
        if part.get("type") == "Res5Head":
            part.update(depth=min(part["depth"], 50), base_channels=64)
        if part.get("num_groups") == 32:
            part["num_groups"] = 4
    if backbone.type == "SwinTransformer":
        backbone.update(depths=[1, 1, 2, 1], num_heads=[1, 2, 3, 4])
    if backbone.type == "PlainViT":
        backbone.update(depth=3, global_blocks=(2,), img_size=backbone.img_size // SIZE)
    fixed = cfg.model.neck.in_channels if backbone.type in FIXED else None
    divide(cfg.model, WIDTHS, WIDTH)
    if fixed:
        cfg.model.neck.in_channels = fixed
    if backbone.type == "RegNet":  # no width to divide: the smallest one
        backbone.arch = "regnetx_400mf"
        cfg.model.neck.in_channels = [32, 64, 160, 384]
    divide(cfg.model.get("data_preprocessor", {}), SIZES, SIZE, SMALLEST)
    for split in ("train", "val", "test"):
        divide(cfg[f"{split}_dataloader"], SIZES, SIZE, SMALLEST)
    for part in walk(cfg.model.get("train_cfg")):
        if "nms_pre" in part:
            part.update(nms_pre=50, max_per_img=20)
        if "sampler" in part:
            part["sampler"]["num"] = 16
    for part in walk(cfg.model.get("test_cfg")):
        if "max_per_img" in part:
            part["max_per_img"] = 10
        if "score_thr" in part:
            part["score_thr"] = -1.0
    replace_data_root(cfg, cfg.data_root, str(data_root))
    return cfg


def divide(config: object, endings: tuple[str, ...], by: int, smallest: int = 8) -> None:
    """Divide integers from ``smallest`` on under keys with one of the endings, in place."""

    def divided(value: object) -> object:
        if isinstance(value, (list, tuple)):
            return type(value)(divided(item) for item in value)
        if isinstance(value, int) and value >= smallest:
            return value // by
        return value

    for part in walk(config):
        for key, value in part.items():
            if key.endswith(endings) and not isinstance(value, dict):
                part[key] = divided(value)

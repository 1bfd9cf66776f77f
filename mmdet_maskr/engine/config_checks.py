"""Checks of config settings that would fail late, obscurely or silently."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from numbers import Real
from pathlib import Path

from mmengine.config import Config
from mmengine.model import PretrainedInit
from mmengine.registry import WEIGHT_INITIALIZERS

from mmdet_maskr.config_types import is_a
from mmdet_maskr.errors import UserError

# What belongs together: mmengine wants all or none.
_SECTIONS = dict(
    train=("train_dataloader", "train_cfg", "optim_wrapper"),
    val=("val_dataloader", "val_cfg", "val_evaluator"),
    test=("test_dataloader", "test_cfg", "test_evaluator"),
)


def check_config(cfg: Config, file: str, needs: str | None = None) -> None:
    """Check model, data loaders, loops and learning rate for values that no run can have.

    Args:
        cfg: the config, options of the command line included.
        file: its path, for messages.
        needs: 'train' or 'test', the section that the tool needs.

    Raises:
        UserError: names the key, its value and what it may be.
    """
    model = cfg.get("model")
    if model is None:
        raise UserError(f"{file} has no model.")
    if not isinstance(model, Mapping) or "type" not in model:
        raise UserError(f"{file}: model must be a dictionary with a type, not {str(model)[:100]}.")
    for split, keys in _SECTIONS.items():
        absent = [key for key in keys if cfg.get(key) is None]
        if absent and (split == needs or len(absent) < len(keys)):
            raise UserError(
                f"{file} has no {' and no '.join(absent)}: {', '.join(keys)} must be set "
                "together" + ("." if split == needs else ", or all be None.")
            )
        _check_loader(cfg.get(f"{split}_dataloader"), f"{split}_dataloader")
    _check_loop(cfg.get("train_cfg"))
    if cfg.get("optim_wrapper") is not None:
        _check_rate(cfg.optim_wrapper)
    _check_weights(cfg.get("load_from"), "load_from")
    if needs == "train":  # nobody else begins from them
        _check_pretrained(model, "model")


def _check_weights(path: object, key: str) -> None:
    """Files are looked for now; what has a prefix (https://, torchvision://) is not."""
    if not isinstance(path, str) or re.match(r"[\w.+-]+:", path) or Path(path).is_file():
        return
    what = "is a folder, not a file" if Path(path).is_dir() else "is not there"
    raise UserError(f"{key}={path!r}: the checkpoint {what}.")


def _check_pretrained(part: object, key: str) -> None:
    if isinstance(part, Mapping):
        if is_a(part.get("type"), PretrainedInit, WEIGHT_INITIALIZERS):
            _check_weights(part.get("checkpoint"), f"{key}.checkpoint")
        for name, value in part.items():
            _check_pretrained(value, f"{key}.{name}")
    elif isinstance(part, (list, tuple)):
        for index, value in enumerate(part):
            _check_pretrained(value, f"{key}[{index}]")


def _check_loader(loader: object, key: str) -> None:
    if not isinstance(loader, Mapping):
        return
    if "batch_size" in loader:
        _whole(loader["batch_size"], f"{key}.batch_size", 1)
    workers = loader.get("num_workers", 1)  # by the machine's cores, see loader_defaults
    _whole(workers, f"{key}.num_workers", 0)
    if workers == 0 and loader.get("persistent_workers"):
        raise UserError(
            f"{key}.persistent_workers=True needs num_workers from 1: set "
            f"{key}.persistent_workers=False."
        )


def _check_loop(loop: object) -> None:
    if not isinstance(loop, Mapping):
        return
    for name in ("max_epochs", "max_iters", "val_interval"):
        if loop.get(name) is not None:
            _whole(loop[name], f"train_cfg.{name}", 1)


def _check_rate(wrapper: object) -> None:
    optimizer = wrapper.get("optimizer") if isinstance(wrapper, Mapping) else None
    if not isinstance(optimizer, Mapping):
        return
    if "lr" not in optimizer:
        return
    rate = optimizer["lr"]
    if isinstance(rate, bool) or not isinstance(rate, Real) or not 0 < float(rate) < math.inf:
        raise UserError(
            f"optim_wrapper.optimizer.lr={rate!r} is not a learning rate: it must be greater "
            "than 0."
        )


def _whole(value: object, key: str, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UserError(f"{key}={value!r} must be a whole number from {least}.")

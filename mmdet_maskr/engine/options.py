"""Applies the options that training and testing share to a config."""

from __future__ import annotations

import argparse
import difflib
import inspect
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmdet.utils import setup_cache_size_limit_of_dynamo
from mmengine.config import Config, DictAction
from mmengine.runner import Runner

from mmdet_maskr.engine.config_reading import read_config
from mmdet_maskr.engine.data_root import replace_data_root
from mmdet_maskr.errors import UserError, no_file
from mmdet_maskr.folders import check_writable
from mmdet_maskr.zoo.resolve import as_weights, resolve

# Top-level settings that a Runner reads, also where a config has them not.
_SETTINGS = {
    *inspect.signature(Runner.__init__).parameters,
    *("runner_type", "model_wrapper_cfg", "find_unused_parameters", "auto_scale_lr"),
    *("efficient_conv_bn_eval", "compile", "tta_model", "tta_pipeline"),
    *("sync_bn", "activation_checkpointing", "short_console"),
}


class OptionAction(DictAction):
    """mmengine's ``--cfg-options``, with a message where a value is missing."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Split each KEY=VALUE."""
        for value in values or ():
            if "=" not in value:
                parser.error(f"{option_string} {value}: KEY=VALUE is wanted, without blanks.")
        super().__call__(parser, namespace, values, option_string)


def weights_of(args: argparse.Namespace, checkpoint: str | None = None) -> str | None:
    """What ``--weights`` names, else ``checkpoint``; its config becomes ``args.config`` if none is.

    Raises:
        UserError: both are given, or neither a config nor weights that bring one; an unknown name.
    """
    if args.weights is None:
        if args.config is None:
            raise UserError("pass a config, or a pretrained model with --weights NAME.")
        return checkpoint
    if checkpoint is not None:
        raise UserError(
            f"--weights {args.weights} and {checkpoint} are both checkpoints: pass only one "
            "of them."
        )
    if args.config is not None:
        return as_weights(args.weights)
    if Path(args.weights).is_file():
        raise UserError(f"--weights {args.weights} is a file without a config: pass a config too.")
    local = resolve(args.weights)
    args.config = local.config
    return local.weights


def load_config(args: argparse.Namespace) -> Config:
    """Read the config that ``args`` names and apply the common options to it.

    Raises:
        UserError: no such file, one that is no config, a ``--data-root`` without ``data_root`` in
            the config, options that do not fit it, or a work dir that cannot be written.
    """
    if not Path(args.config).is_file():
        raise no_file("config file", args.config)
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    setup_cache_size_limit_of_dynamo()
    cfg = read_config(args.config)
    configured_root = cfg.get("data_root")
    cfg.launcher = args.launcher
    if args.cfg_options is not None:
        _merge_options(cfg, args.cfg_options)
    if args.data_root is not None:
        cfg.data_root = args.data_root
    if cfg.get("data_root") != configured_root:
        if configured_root is None:
            raise UserError(
                f"{args.config} has no data_root that --data-root could replace: set the paths "
                "of the datasets with --cfg-options train_dataloader.dataset.data_root=..."
            )
        replace_data_root(cfg, configured_root, cfg.data_root)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get("work_dir") is None:
        cfg.work_dir = str(Path("work_dirs") / Path(args.config).stem)
    check_writable(Path(cfg.work_dir), "--work-dir")
    return cfg


def as_configured(before: Any, value: Any) -> Any:
    """A value of ``--cfg-options``; a list such as ``160,160`` is a tuple where the config has one.

    mmengine reads a tuple from ``scale=(160,160)`` alone, which a shell wants quoted, and Resize
    refuses a list.
    """
    return tuple(value) if isinstance(before, tuple) and isinstance(value, list) else value


def _value_at(cfg: Config, path: str) -> Any:
    """What a config has at a path with dots; None where it has nothing."""
    place: Any = cfg
    for key in path.split("."):
        if isinstance(place, (list, tuple)):
            place = place[int(key)] if key.isdigit() and int(key) < len(place) else None
        else:
            place = place.get(key) if isinstance(place, (Config, dict)) else None
    return place


def _merge_options(cfg: Config, options: dict) -> None:
    known = {*cfg, *_SETTINGS}
    for key in options:
        name = key.split(".")[0]
        if name not in known:  # mmengine would add it, and nothing would read it
            close = difflib.get_close_matches(name, known, n=1)
            guess = f": did you mean {close[0]}?" if close else "."
            raise UserError(f"--cfg-options {key}: the config has no {name}{guess}")
    options = {key: as_configured(_value_at(cfg, key), value) for key, value in options.items()}
    try:
        cfg.merge_from_dict(options)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise UserError(
            f"--cfg-options {' '.join(map(str, options))} does not fit the config: {error.args[0]}"
        ) from error

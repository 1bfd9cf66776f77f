"""What ``tools/train.py`` and ``tools/test.py`` have in common: options, config, Runner."""

from __future__ import annotations

import argparse
import difflib
import errno
import inspect
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from mmdet.registry import RUNNERS
from mmdet.utils import setup_cache_size_limit_of_dynamo
from mmengine.config import Config, ConfigDict, DictAction
from mmengine.runner import Runner

from mmdet_maskr.engine.child_processes import end_with_parent
from mmdet_maskr.engine.config_checks import check_config
from mmdet_maskr.engine.config_errors import explain
from mmdet_maskr.engine.signals import interruptible
from mmdet_maskr.errors import UserError, no_file
from mmdet_maskr.folders import check_writable

# A place that cannot be read or written, which the user names.
_PLACE_ERRORS = (errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST,
                 errno.ENAMETOOLONG, errno.ELOOP, errno.EROFS)  # fmt: skip
_MACHINE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO)
LAUNCHERS = ("none", "pytorch", "slurm", "mpi")
# Keys of paths that begin with an empty data_root, in each part of a config.
_PATHS = {
    "dataloader": ("data_root",),
    "evaluator": ("ann_file", "keypoint_ann_file", "seg_prefix"),
}
# Top-level settings that a Runner reads, also where a config has them not.
_SETTINGS = {
    *inspect.signature(Runner.__init__).parameters,
    *("runner_type", "model_wrapper_cfg", "find_unused_parameters", "auto_scale_lr"),
    *("efficient_conv_bn_eval", "compile", "tta_model", "tta_pipeline"),
    *("sync_bn", "activation_checkpointing"),
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


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that training and testing share; names and meaning are those of mmdet's tools."""
    parser.add_argument("--work-dir", help="folder for logs, checkpoints and results")
    parser.add_argument(
        "--data-root",
        help="folder of the data set (default: data_root of the config); replaces it everywhere in "
        "the config, the evaluators' annotation files included",
    )
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=OptionAction,
        metavar="KEY=VALUE",
        help="override settings of the config, e.g. model.backbone.depth=101 or "
        "'train_cfg.max_epochs=24'; lists as key=\"[a,b]\" or key=a,b, without blanks",
    )
    parser.add_argument("--launcher", choices=LAUNCHERS, default="none", help="job launcher")
    parser.add_argument(
        "--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS
    )  # torch.distributed.launch passes it


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
                f"{args.config} has no data_root that could be replaced: set the data sets' own "
                "with --cfg-options train_dataloader.dataset.data_root=..."
            )
        replace_data_root(cfg, configured_root, cfg.data_root)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get("work_dir") is None:
        cfg.work_dir = str(Path("work_dirs") / Path(args.config).stem)
    check_writable(Path(cfg.work_dir), "--work-dir")
    return cfg


def read_config(path: str) -> Config:
    """Read a config file.

    Raises:
        UserError: whatever its Python ends in, with the line; a missing ``_base_`` or import.
    """
    try:
        return Config.fromfile(path)
    except UserError:
        raise
    except SyntaxError as error:  # mmengine parses the text without the file's name
        line = f", line {error.lineno}" if error.lineno else ""
        shown = f": {error.text.strip()}" if error.text else ""
        raise UserError(f"config {path} is no Python{line}: {error.msg}{shown}.") from error
    except ImportError as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise UserError(
            f"config {path} imports what cannot be imported: {reason}. Set PYTHONPATH to the "
            "folder of modules of your own."
        ) from error
    except Exception as error:  # a config is a program, and may end in any
        text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
        line = f", line {frames[-1].lineno}" if frames else ""
        raise UserError(
            f"config {path} cannot be read{line}: {type(error).__name__}: {text}."
        ) from error


def _merge_options(cfg: Config, options: dict) -> None:
    known = {*cfg, *_SETTINGS}
    for key in options:
        name = key.split(".")[0]
        if name not in known:  # mmengine would add it, and nothing would read it
            close = difflib.get_close_matches(name, known, n=1)
            guess = f": did you mean {close[0]}?" if close else "."
            raise UserError(f"--cfg-options {key}: the config has no {name}{guess}")
    try:
        cfg.merge_from_dict(options)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise UserError(
            f"--cfg-options {' '.join(map(str, options))} does not fit the config: {error.args[0]}"
        ) from error


def replace_data_root(cfg: Config, old: str, new: str) -> None:
    """Replace the folder ``old`` by ``new`` in data loaders and evaluators, in place.

    ``data_root`` and paths that begin with it (``ann_file=data_root + '...'``) are values of their
    own after a config is parsed, so setting ``data_root`` alone would change nothing. Any text
    begins with an empty ``old`` (or is below '.'): of these only relative paths of data sets'
    ``data_root`` and evaluators' files are replaced.

    Raises:
        UserError: there is none, so that nothing would be read from ``new``.
    """
    anywhere = os.path.normpath(old) != "."
    found = []

    def replaced(value: object, key: str, keys: Sequence[str]) -> object:
        if isinstance(value, dict):
            if not anywhere and "data_root" in keys and "ann_file" in value:
                value.setdefault("data_root", "")
            for own in value:
                value[own] = replaced(value[own], own, keys)
        elif isinstance(value, (list, tuple)):
            return type(value)(replaced(item, key, keys) for item in value)
        elif isinstance(value, str) and (anywhere or key in keys):
            moved = _moved(value, old, new)
            if moved is not None:
                found.append(moved)
                return moved
        return value

    for split in ("train", "val", "test"):
        for part, keys in _PATHS.items():
            section = cfg.get(f"{split}_{part}")
            if section is not None:
                cfg[f"{split}_{part}"] = replaced(section, "", keys)
    if not found:
        raise UserError(
            f"no path of the data loaders and evaluators is in data_root={old!r}, and another "
            "folder would change nothing. Write data_root=data_root and ann_file=data_root + '...' "
            "in the config, so that the folder is named once."
        )


def _moved(path: str, old: str, new: str) -> str | None:
    """``path`` below the folder ``new`` where it is below ``old``, however it is written."""
    root, plain = os.path.normpath(old), os.path.normpath(path)
    prefix = os.path.join(old, "")
    if root == ".":
        if os.path.isabs(path) or "://" in path:
            return None
        tail = "" if plain == "." else path.removeprefix("./")
    elif os.path.join(path, "").startswith(prefix):
        tail = path[len(prefix) :]
    elif os.path.join(plain, "").startswith(os.path.join(root, "")):
        tail = plain[len(root) + 1 :] + "/" * (plain != root and path.endswith("/"))
    else:
        return None
    return os.path.join(new, "") + tail


def enable_mixed_precision(cfg: Config) -> None:
    """``--amp``: float16 with loss scaling on a GPU, bfloat16 on a CPU."""
    wrapper = cfg.optim_wrapper
    if torch.cuda.is_available():
        wrapper.type = "AmpOptimWrapper"
        wrapper.setdefault("loss_scale", "dynamic")
    else:
        wrapper.type = "mmdet.BFloat16OptimWrapper"


def build_runner(cfg: Config, needs: str | None = None) -> Runner:
    """Build the Runner of a config, distributed as ``cfg.launcher`` says, on GPUs or CPUs.

    It is a DurableRunner where the config names no other ``runner_type``.

    Without a GPU the process group is made here, with gloo: mmengine's own ``init_dist`` selects a
    CUDA device first and fails.

    Args:
        cfg: the config.
        needs: 'train' or 'test', what the Runner is for.

    Raises:
        UserError: a launcher other than pytorch on a machine without GPUs; what
            :func:`.config_checks.check_config` finds.
    """
    check_config(cfg, cfg.filename or "the config", needs)
    if cfg.launcher != "none" and not torch.cuda.is_available():
        if cfg.launcher != "pytorch":
            raise UserError(
                f"--launcher {cfg.launcher} needs GPUs, and torch sees none: use --launcher "
                "pytorch (tools/dist_train.sh) for several processes on CPUs."
            )
        if not torch.distributed.is_initialized():
            seconds = cfg.env_cfg.get("dist_cfg", {}).get("timeout", 1800)
            torch.distributed.init_process_group("gloo", timeout=timedelta(seconds=seconds))
        wrapper = cfg.get("model_wrapper_cfg") or dict(
            type="MMDistributedDataParallel",
            broadcast_buffers=False,
            find_unused_parameters=cfg.get("find_unused_parameters", False),
        )
        # mmengine fills in the local rank as a GPU's number
        cfg.model_wrapper_cfg = ConfigDict(wrapper, device_ids=None)
        cfg.env_cfg.setdefault("dist_cfg", {})["backend"] = "gloo"
    cfg.setdefault("runner_type", "DurableRunner")
    return RUNNERS.build(cfg)


# What libraries say (as regular expressions) when something outside of the program ended it.
_EXPLAINED = {
    r"DataLoader worker .*(is killed by signal|exited unexpectedly)": "a data worker was ended "
    "from outside, most likely for lack of memory: lower num_workers or batch_size",
    r"gloo.*(Connection (reset|closed|refused)|Broken pipe|Timed out|timed out)": "another process "
    "of this job died or stands still; its own message says why",
    r"can't allocate memory|CUDA out of memory|DefaultCPUAllocator": "there is not enough memory: "
    "lower train_dataloader.batch_size or the size of the images",
}


# What they say of a config's mistakes.
_MISTAKES = {
    r"each data_item.* in list of batch should be of equal size": "the samples of a batch cannot "
    "be put together: does the pipeline end with PackDetInputs or PackKeypointInputs?",
}


def run_tool(main: Callable[[], None], stopped: str = "stopped") -> None:
    """Run a tool's ``main``; an error of the user's ends with its message and exit code 2.

    What a machine does to a run (memory, disk, dead processes) ends with a message and exit code 1,
    Ctrl-C and SIGTERM with the message ``stopped`` and exit code 128 + signal.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        end_with_parent(signal.SIGTERM)  # torchrun's processes would go on without it
    with interruptible():
        _run(main, stopped)


def _run(main: Callable[[], None], stopped: str) -> None:
    try:
        main()
    except KeyboardInterrupt as error:
        print(f"\n{stopped}", file=sys.stderr)
        sys.exit(128 + getattr(error, "number", signal.SIGINT))
    except UserError as error:
        _leave(_own_message(error))
    except Exception as error:
        explanation = _explain(error)
        if isinstance(error, OSError) and error.errno in _PLACE_ERRORS and error.filename:
            _leave(f"{error.filename} cannot be read or written: {error.strerror}.")
        if explanation is not None:
            _print_error(f"{explanation}. The same command with --resume goes on.")
            sys.exit(1)
        mistakes = (text for pattern, text in _MISTAKES.items() if re.search(pattern, str(error)))
        explanation = next(mistakes, None) or explain(error, _config_of(error))
        if explanation is None:
            raise
        _leave(explanation)


def _leave(message: str) -> None:
    _print_error(message)
    if "TORCHELASTIC_RUN_ID" in os.environ:
        os.kill(os.getppid(), signal.SIGTERM)  # or torchrun would start it again, in vain
    sys.exit(2)


def _config_of(error: BaseException) -> Config | None:
    """The config that was being built, from the frames of the error."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        cfg = frame.f_locals.get("cfg")
        if isinstance(cfg, Config):
            return cfg
    return None


def _own_message(error: UserError) -> str:
    """The message without the traceback that torch puts before that of a data worker."""
    text = str(error)
    marker = f"{type(error).__name__}: "
    return text.rpartition(marker)[2].strip() if text.startswith("Caught ") else text


def _explain(error: Exception) -> str | None:
    if not isinstance(error, (RuntimeError, MemoryError, OSError)):
        return None
    if isinstance(error, MemoryError):
        first = (str(error).splitlines() or [""])[0]
        return (
            f"there is not enough memory ({first}): lower num_workers or batch_size, or the size "
            "of the images"
        )
    if isinstance(error, OSError) and error.errno in _MACHINE_ERRORS:
        return f"{error.filename or 'a file'} cannot be written: {error.strerror}"
    text = str(error)
    for pattern, explanation in _EXPLAINED.items():
        if re.search(pattern, text, re.DOTALL):
            return f"{explanation} ({text.splitlines()[0][:200]})"
    return None


def _print_error(message: str) -> None:
    if os.environ.get("MMDET_MASKR_TRACEBACK"):
        traceback.print_exc()
    print(f"error: {message}", file=sys.stderr, flush=True)

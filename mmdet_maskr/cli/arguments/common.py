"""Options that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

LAUNCHERS = ("none", "pytorch", "slurm", "mpi")


class CfgOptions(argparse.Action):
    """mmengine's ``--cfg-options``, which is loaded when the option is given."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Split each KEY=VALUE as mmengine does."""
        from mmdet_maskr.engine.options import OptionAction

        action = OptionAction(self.option_strings, self.dest, nargs=self.nargs)
        action(parser, namespace, values, option_string)


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """``--cfg-options``."""
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=CfgOptions,
        metavar="KEY=VALUE",
        help="override settings of the config, e.g. model.backbone.depth=101 or "
        "'train_cfg.max_epochs=24'; lists as key=\"[a,b]\" or key=a,b, without blanks",
    )


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that training and testing share; names and meaning are those of mmdet's tools."""
    parser.add_argument("--work-dir", help="folder for logs, checkpoints and results")
    parser.add_argument(
        "--data-root",
        help=(
            "folder of the dataset (default: data_root of the config). It replaces "
            "data_root in the whole config, also for the annotation files of evaluators"
        ),
    )
    add_cfg_options(parser)
    parser.add_argument("--launcher", choices=LAUNCHERS, default="none", help="job launcher")
    parser.add_argument(
        "--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS
    )  # torch.distributed.launch passes it


def add_weights(parser: argparse.ArgumentParser, what_for: str) -> None:
    """``--weights``: a pretrained model by name, or a file.

    Args:
        parser: of the command.
        what_for: how the command uses it, for its help.
    """
    parser.add_argument(
        "--weights",
        metavar="NAME",
        help="a checkpoint, or a pretrained model: a name of maskr zoo --pretrained, a folder of "
        f"maskr publish, or hf://org/name. {what_for}",
    )


def add_json(parser: argparse.ArgumentParser, what: str) -> None:
    """``--json``: what goes to standard output for programs; all else goes to standard error."""
    parser.add_argument(
        "--json", action="store_true", help=f"print {what} as JSON, and nothing else"
    )


def add_model_arguments(parser: argparse.ArgumentParser, exported: bool = False) -> None:
    """A model to detect with, and how it runs.

    Args:
        parser: of the command.
        exported: whether it may be an exported one, which need not be named by an option.
    """
    more = ", or the folder of maskr export" if exported else ""
    parser.add_argument(
        "--weights",
        required=not exported,
        metavar="CHECKPOINT|NAME",
        help="path or URL of the checkpoint, or a pretrained model: a name of maskr zoo "
        f"--pretrained, a folder of maskr publish, or hf://org/name{more}",
    )
    parser.add_argument(
        "--config",
        metavar="CONFIG",
        help="config of the checkpoint, or its name (default: the config that the checkpoint "
        "contains, or config.py next to it)",
    )
    parser.add_argument(
        "--device", help="where to run, such as cpu or cuda:1 (default: the first accelerator)"
    )
    parser.add_argument(
        "--batch-size", type=int, default=1, metavar="N", help="images per batch (default: 1)"
    )
    parser.add_argument(
        "--optimize",
        action="store_true",
        help="run a faster form of the model; results differ by rounding only",
    )


def add_tile_arguments(parser: argparse.ArgumentParser) -> None:
    """``--tile`` and ``--overlap``."""
    parser.add_argument(
        "--tile",
        type=lambda text: text if text == "auto" else int(text),
        metavar="PIXELS",
        help=(
            "for large images: detect on square tiles of this side and merge the "
            "results. 'auto' uses the size that the test pipeline resizes to"
        ),
    )
    parser.add_argument(
        "--overlap",
        type=float,
        metavar="SHARE",
        help=(
            "with --tile: overlap of neighboring tiles, as a fraction of their side (default: 0.2)"
        ),
    )

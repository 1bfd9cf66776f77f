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
        help="folder of the data set (default: data_root of the config); replaces it everywhere in "
        "the config, the evaluators' annotation files included",
    )
    add_cfg_options(parser)
    parser.add_argument("--launcher", choices=LAUNCHERS, default="none", help="job launcher")
    parser.add_argument(
        "--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS
    )  # torch.distributed.launch passes it


def add_json(parser: argparse.ArgumentParser, what: str) -> None:
    """``--json``: what goes to standard output for programs; all else goes to standard error."""
    parser.add_argument(
        "--json", action="store_true", help=f"print {what} as JSON, and nothing else"
    )

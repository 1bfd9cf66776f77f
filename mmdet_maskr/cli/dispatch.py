"""Runs the command that a command line names, and sets the exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from mmdet_maskr.cli.commands import COMMANDS
from mmdet_maskr.cli.completion import COMPLETE, candidates
from mmdet_maskr.cli.parser import (
    module_of,
    nested_commands,
    overview,
    parser_of,
    unknown_command,
)
from mmdet_maskr.version import __version__

HELP = ("-h", "--help")


def main(words: Sequence[str], load: Callable[[], None]) -> None:
    """Do what the words say; ends with SystemExit where the exit code is not 0.

    Args:
        words: of the command line, without the program's name.
        load: runs the package's own code (see ``maskr.py``), which help texts do without.
    """
    if not words:
        print(overview(), file=sys.stderr)
        sys.exit(2)
    name, *rest = words
    if name in HELP:
        print(overview())
        return
    if name in ("-V", "--version"):
        print(f"mmdet_maskr {__version__}")
        return
    if name == COMPLETE:
        print("\n".join(candidates(rest)))
        return
    if name not in COMMANDS:
        print(f"error: {unknown_command(name)}", file=sys.stderr)
        sys.exit(2)
    if any(word in HELP for word in rest):
        if COMMANDS[name].heavy:
            _load(load)
        print_help(name, rest)
        return
    _load(load)
    end(name, lambda: run_command(name, rest, f"maskr {name}"))


def print_help(command: str, words: Sequence[str]) -> None:
    """Print what a command, or its own subcommand, takes."""
    parser = parser_of(command, f"maskr {command}")
    nested = nested_commands(parser)
    name = next((word for word in words if word in nested), None)
    (parser if name is None else nested[name]).print_help()


def run_command(command: str, words: Sequence[str], prog: str) -> None:
    """Parse a command's words and do its work. ``prog`` is what usage and examples call it."""
    args = parser_of(command, prog).parse_args(words)
    module_of(command).run(args)


def end(command: str, main: Callable[[], None]) -> None:
    """Run ``main``; what goes wrong ends with a message and an exit code."""
    from mmdet_maskr.engine.launch import run_tool

    run_tool(main, stopped=COMMANDS[command].stopped)


def _load(load: Callable[[], None]) -> None:
    """Load the package; a sentence and exit code 2 where what is installed does not fit."""
    from mmdet_maskr import compat

    try:
        load()
        if not compat.has_openmmlab():
            compat.check_dependencies()
    except ImportError as error:
        if error.name is not None:  # not one of compat's sentences
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)

"""The layout of all help texts, and the message about unknown words."""

from __future__ import annotations

import argparse
import difflib
import importlib
import shutil
import sys
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any, NoReturn

from mmdet_maskr.cli.commands import COMMANDS

WIDEST = 100
INTRODUCTION = """\
Mask R-CNN for MMDetection: boxes, masks and keypoints.

usage: maskr COMMAND [options]"""
CLOSING = """\
maskr COMMAND --help describes one command. Exit codes: 0 done; 1 done, but something is wrong with
data, results or the machine; 2 wrong use."""


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Descriptions as they are written, in columns that do not depend on the longest option."""

    def __init__(self, prog: str) -> None:
        width = min(shutil.get_terminal_size((WIDEST, 24)).columns, WIDEST)
        super().__init__(prog, max_help_position=26, width=max(width, 60))


class Parser(argparse.ArgumentParser):
    """argparse's, with the look of this package and guesses at misspelt options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", Formatter)
        super().__init__(*args, **kwargs)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's, with a guess where an option is unknown."""
        # words that may be left out may stand between options, too
        nested = any(isinstance(a, argparse._SubParsersAction) for a in self._actions)
        parse = self.parse_known_args if nested else self.parse_known_intermixed_args
        found, unknown = parse(args, namespace)
        if unknown:
            known = [name for action in self._actions for name in action.option_strings]
            word = next((word for word in unknown if word.startswith("-")), "")
            guess = did_you_mean(word.split("=")[0], known) if word else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{guess}")
        return found

    def error(self, message: str) -> NoReturn:
        """Usage and message on standard error; exit code 2."""
        self.print_usage(sys.stderr)
        self.exit(2, f"error: {message}\n")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``'; did you mean X?'`` where a known word is close, else ``''``."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def module_of(command: str, folder: str = "mmdet_maskr.cli") -> ModuleType:
    """The module of a command in a package."""
    return importlib.import_module(f"{folder}.{command.replace('-', '_')}")


def parser_of(command: str, prog: str) -> Parser:
    """The parser of a command's own words."""
    parser = Parser(prog=prog)
    module_of(command, "mmdet_maskr.cli.arguments").add_arguments(parser)
    return parser


def nested_commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Parsers of a command's own subcommands, by name."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found.update(action.choices)
    return found


def overview() -> str:
    """What ``maskr --help`` prints."""
    lines = [INTRODUCTION]
    for group in dict.fromkeys(command.group for command in COMMANDS.values()):
        lines += ["", f"{group}:"]
        lines += [f"  {n:<16} {c.summary}" for n, c in COMMANDS.items() if c.group == group]
    return "\n".join([*lines, "", CLOSING])


def unknown_command(word: str, known: Sequence[str] = tuple(COMMANDS)) -> str:
    """What is said of a word that is no command."""
    return f"there is no command {word}{did_you_mean(word, known) or '.'} See maskr --help."

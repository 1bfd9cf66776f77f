"""docs/cli.md from the parsers: ``python -m mmdet_maskr.cli.page docs/cli.md`` writes it anew."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from mmdet_maskr.cli.commands import COMMANDS
from mmdet_maskr.cli.parser import nested_commands, parser_of

MARK = "<!-- What follows is written by `python -m mmdet_maskr.cli.page docs/cli.md`. -->"


def update(text: str) -> str:
    """The page with its generated part as the parsers are now."""
    return text.partition(MARK)[0] + MARK + "\n\n" + reference()


def reference() -> str:
    """All commands, with tables of their arguments and options."""
    return "\n".join(_section(name) for name in COMMANDS)


def _section(command: str) -> str:
    parser = parser_of(command, f"maskr {command}")
    text = (parser.description or "") % dict(prog=parser.prog)
    lines = [f"## maskr {command}", "", *_prose(text)]
    nested = nested_commands(parser)
    lines += _table(parser)
    for name, inner in nested.items():
        lines += [f"### maskr {command} {name}", ""]
        if inner.description:
            lines += [cell((inner.description.strip()).split("\n\n")[0]), ""]
        lines += _table(inner)
    return "\n".join(lines)


def _prose(description: str) -> list[str]:
    """Paragraphs as they are; what is indented or has a heading with a colon, as code."""
    lines = []
    for block in description.strip().split("\n\n"):
        if re.search(r"^ {4}|:  ", block, re.MULTILINE):
            head, _, rest = block.partition("\n")
            if head.endswith(":") and not head.startswith(" "):
                lines += [head, ""]
                block = rest
            lines += ["```text", *(line.removeprefix("    ") for line in block.splitlines())]
            lines += ["```", ""]
        else:
            lines += [block, ""]
    return lines


def _table(parser: argparse.ArgumentParser) -> list[str]:
    rows = []
    for action in parser._actions:
        is_nested = isinstance(action, argparse._SubParsersAction)
        if is_nested or action.help == argparse.SUPPRESS or "--help" in action.option_strings:
            continue
        rows.append(f"| {_name(action)} | {_help(parser, action)} |")
    if not rows:
        return []
    return ["| argument | meaning |", "| --- | --- |", *rows, ""]


def _name(action: argparse.Action) -> str:
    names = ", ".join(f"`{name}`" for name in action.option_strings)
    value = action.metavar or (action.dest.upper() if names else action.dest)
    if action.choices is not None:
        value = ", ".join(map(str, action.choices))
    if action.nargs == 0:
        return names
    many = " ..." if action.nargs in ("+", "*") else ""
    return _escaped(f"{names} {value}{many}".strip())


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    values = dict(vars(action), prog=parser.prog)
    return cell((action.help or "") % values)


def cell(text: str) -> str:
    """A text as the cell of a Markdown table; in code, only the bar is special."""
    parts = " ".join(text.split()).split("`")
    return "`".join(
        part.replace("|", r"\|") if number % 2 else _escaped(part)
        for number, part in enumerate(parts)
    )


def _escaped(text: str) -> str:
    return re.sub(r"([|<\[*])", r"\\\1", text)


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(update(page.read_text(encoding="utf-8")), encoding="utf-8")

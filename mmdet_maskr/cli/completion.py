"""``maskr completion SHELL``: shell completion, generated from the parsers.

The shell calls ``maskr --complete WORDS``, whose last word is the one to complete, perhaps empty.
It prints what fits, a word a line. Where it prints nothing, the shell completes names of files.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mmdet_maskr.cli.commands import COMMANDS
from mmdet_maskr.cli.parser import nested_commands, parser_of

COMPLETE = "--complete"
SCRIPTS = {
    "bash": r"""_maskr() {
    local IFS=$'\n'
    COMPREPLY=($(maskr --complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o bashdefault -o default -F _maskr maskr""",
    "zsh": r"""_maskr() {
    local -a found
    found=(${(f)"$(maskr --complete "${(@)words[2,CURRENT]}" 2>/dev/null)"})
    if (( $#found )); then compadd -- $found; else _files; fi
}
compdef _maskr maskr""",
    "fish": r"""function __maskr_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l found (maskr --complete $words[2..-1] "$current" 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\n' $found
    else
        __fish_complete_path "$current"
    end
end
complete --command maskr --no-files --arguments '(__maskr_complete)'""",
}  # fmt: skip


def run(args: argparse.Namespace) -> None:
    print(SCRIPTS[args.shell])


def candidates(words: Sequence[str]) -> list[str]:
    """What the last of the words can be, in order; nothing where it is the name of a file.

    Args:
        words: after ``maskr``, up to the cursor.
    """
    *before, current = words or [""]
    if not before:
        return _starting(current, [*COMMANDS, "--help", "--version"])
    if before[0] not in COMMANDS or COMMANDS[before[0]].heavy:
        return []
    parser: argparse.ArgumentParser = parser_of(before[0], f"maskr {before[0]}")
    nested = nested_commands(parser)
    chosen = next((word for word in before[1:] if word in nested), None)
    if chosen is not None:
        parser = nested[chosen]
    elif nested and not current.startswith("-"):
        return _starting(current, list(nested))
    if current.startswith("-"):
        return _starting(current, _options(parser, set(before)))
    return _starting(current, _choices(parser, before[1:]))


def _starting(current: str, words: Sequence[str]) -> list[str]:
    return [word for word in words if word.startswith(current)]


def _options(parser: argparse.ArgumentParser, given: set[str]) -> list[str]:
    """Long options that are not given yet, and are no secret."""
    return [
        option
        for action in parser._actions
        if action.help != argparse.SUPPRESS and not given & {*action.option_strings}
        for option in action.option_strings
        if option.startswith("--")
    ]


def _choices(parser: argparse.ArgumentParser, before: Sequence[str]) -> list[str]:
    """Values of the option that is being given, or else of the first argument with a choice."""
    for distance, word in enumerate(reversed(before)):
        if word.startswith("-"):
            option = parser._option_string_actions.get(word)
            if option is not None and _takes(option, distance):
                return [str(choice) for choice in option.choices or ()]
            break
    positional = [action for action in parser._actions if not action.option_strings]
    chosen = next((action.choices for action in positional if action.choices), None) or ()
    return [] if set(before) & {*chosen} else [str(choice) for choice in chosen]


def _takes(option: argparse.Action, given: int) -> bool:
    """Whether an option takes one more value after ``given`` ones."""
    if option.nargs in ("+", "*"):
        return True
    if option.nargs is None or option.nargs == "?":
        return given == 0
    return isinstance(option.nargs, int) and given < option.nargs

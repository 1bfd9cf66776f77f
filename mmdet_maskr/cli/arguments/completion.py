"""Print a completion script for a shell.

Add one of these lines to the startup file of your shell:
    eval "$(%(prog)s bash)"                                          # ~/.bashrc
    eval "$(%(prog)s zsh)"                                           # ~/.zshrc, after compinit
    %(prog)s fish > ~/.config/fish/completions/maskr.fish            # once
"""

from __future__ import annotations

import argparse

SHELLS = ("bash", "zsh", "fish")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__
    parser.add_argument("shell", choices=SHELLS, help="which shell")

"""How this package's commands are called in the current process, for messages."""

from __future__ import annotations

import functools
import shutil


def call(words: str) -> str:
    """A command line, in backquotes.

    Args:
        words: the command and what follows it, such as 'check FILE'.

    Returns:
        With ``maskr`` where the shell finds it; otherwise, as in a checkout or an environment that
        is not activated, with ``python -m mmdet_maskr``.
    """
    return f"`{_program()} {words}`"


@functools.cache
def _program() -> str:
    return "maskr" if shutil.which("maskr") else "python -m mmdet_maskr"

"""Errors that the user can fix: tools print only the message and exit with code 2."""

from __future__ import annotations

import difflib
from pathlib import Path


class UserError(ValueError):
    """Wrong input: a file, an option or a name. The message says which, and what would fix it."""


class MissingPackageError(UserError):
    """An optional package is not installed. The message has the command that installs it."""


class UnsafeCheckpointError(UserError):
    """A file of weights or other data asks for code to be executed while it is being loaded."""


def no_file(what: str, path: str | Path) -> UserError:
    """The error for a file that is not there: it names what is, of similar names in its folder.

    Args:
        what: such as 'config file'.
        path: of the file, as it was given.
    """
    path = Path(path)
    folder = path.parent
    if not folder.is_dir():
        return UserError(f"there is no {what} {path}: there is no folder {folder.absolute()}.")
    others = sorted(p.name for p in folder.iterdir() if p.suffix == path.suffix and p.is_file())
    close = difflib.get_close_matches(path.name, others, n=3)
    hint = f": did you mean {' or '.join(str(folder / name) for name in close)}?" if close else "."
    return UserError(f"there is no {what} {path}{hint}")

"""``maskr``, the console command: a start that loads neither torch nor MMDetection.

``import mmdet_maskr`` registers this package's parts with MMDetection, which takes seconds. A help
text or the words of a completion need none of it. So the package is put into ``sys.modules`` before
its own code has run: its light modules can be imported, and :func:`load_package` runs that code
before a command does its work. Whoever imports mmdet_maskr first, as any other program does, gets
it whole.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Sequence

PACKAGE = "mmdet_maskr"
_pending: list[Callable[[], None]] = []


def limit_spinning() -> None:
    """OpenMP's threads that spin for long slow one another on a busy machine; before torch."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def open_package() -> None:
    """Make the package's modules importable, without its own code; nothing if it is loaded."""
    if PACKAGE in sys.modules:
        return
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named {PACKAGE!r}", name=PACKAGE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = module
    loader = spec.loader
    _pending.append(lambda: loader.exec_module(module))


def load_package() -> None:
    """Run the package's own code, which checks what is installed and registers its parts.

    Raises:
        ImportError: what is installed does not fit; it says what to do.
    """
    while _pending:
        _pending.pop()()


def main(words: Sequence[str] | None = None) -> None:
    """The command; ``words`` are those of the command line."""
    limit_spinning()
    open_package()
    from mmdet_maskr.cli.dispatch import main as run

    try:
        run(sys.argv[1:] if words is None else list(words), load_package)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def tool(command: str, file: str) -> Callable[[], None]:
    """``main`` of a script in tools/: the subcommand ``command`` under the script's name.

    Errors of the user's are raised; the script ends by :func:`end` of it.
    """
    limit_spinning()
    open_package()
    load_package()
    from mmdet_maskr.cli.dispatch import run_command

    name = os.path.basename(file)
    return lambda: run_command(command, sys.argv[1:], f"python tools/{name}")


def end(command: str, main: Callable[[], None]) -> None:
    """Run a tool's ``main`` and end with a message and an exit code, as ``maskr`` does."""
    from mmdet_maskr.cli.dispatch import end

    end(command, main)


if __name__ == "__main__":
    main()

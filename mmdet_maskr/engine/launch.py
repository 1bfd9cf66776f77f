"""How a tool starts and ends: errors as messages, and exit codes."""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator

from mmdet_maskr import adjustments
from mmdet_maskr.engine.child_processes import end_with_parent
from mmdet_maskr.engine.config_errors import explain
from mmdet_maskr.engine.machine_errors import machine_trouble
from mmdet_maskr.engine.signals import end_launcher, interruptible
from mmdet_maskr.errors import UserError

# A place that cannot be read or written, which the user names.
_PLACE_ERRORS = (errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST,
                 errno.ENAMETOOLONG, errno.ELOOP, errno.EROFS)  # fmt: skip
# What they say of a config's mistakes.
_MISTAKES = {
    r"each data_item.* in list of batch should be of equal size": "the samples of a batch cannot "
    "be put together: does the pipeline end with PackDetInputs or PackKeypointInputs?",
    r"expected input\[.*\] to have \d+ channels|mat1 and mat2 shapes cannot be multiplied|"
    r"running_\w+ should contain \d+ elements|channels in input to be divisible by num_groups|"
    r"Given normalized_shape=": "parts of the model "
    "do not fit each other: in_channels of each is what the one before it gives (out_channels)",
}


def run_tool(main: Callable[[], None], stopped: str = "stopped") -> None:
    """Run a tool's ``main``; an error of the user's ends with its message and exit code 2.

    What a machine does to a run (memory, disk, dead processes) ends with a message and exit code 1,
    Ctrl-C and SIGTERM with the message ``stopped`` and exit code 128 + signal.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        end_with_parent(signal.SIGTERM)  # torchrun's processes would go on without it
    with interruptible(), adjustments.own_calls():
        _run(main, stopped)


def _run(main: Callable[[], None], stopped: str) -> None:
    try:
        main()
    except KeyboardInterrupt as error:
        print(f"\n{stopped}", file=sys.stderr)
        sys.exit(128 + getattr(error, "number", signal.SIGINT))
    except UserError as error:
        _leave(_own_message(error))
    except Exception as error:
        explanation = machine_trouble(error)
        if isinstance(error, OSError) and error.errno in _PLACE_ERRORS and error.filename:
            _leave(f"{error.filename} cannot be read or written: {error.strerror}.")
        if explanation is not None:
            _print_error(f"{explanation}. Continue with the same command and --resume.")
            sys.exit(1)
        mistakes = _mistakes(str(error))
        explanation = next(mistakes, None) or explain(error)
        if explanation is None:
            raise
        _leave(explanation)


def _mistakes(text: str) -> Iterator[str]:
    for pattern, explanation in _MISTAKES.items():
        if re.search(pattern, text):
            end = "" if explanation.endswith("?") else f" ({text.splitlines()[0][:200]})."
            yield explanation + end


def _leave(message: str) -> None:
    _print_error(message)
    end_launcher()
    sys.exit(2)


def _own_message(error: UserError) -> str:
    """The message without the traceback that torch puts before that of a data worker."""
    text = str(error)
    marker = f"{type(error).__name__}: "
    return text.rpartition(marker)[2].strip() if text.startswith("Caught ") else text


def _print_error(message: str) -> None:
    if os.environ.get("MMDET_MASKR_TRACEBACK"):
        traceback.print_exc()
    print(f"error: {message}", file=sys.stderr, flush=True)

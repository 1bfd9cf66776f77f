"""Reads a config file; an error names the line."""

from __future__ import annotations

import traceback

from mmengine.config import Config

from mmdet_maskr import adjustments
from mmdet_maskr.errors import UserError


@adjustments.own_calls()
def read_config(path: str) -> Config:
    """Read a config file; one that is no program runs none.

    Raises:
        UserError: any error of its Python, with the line; a missing ``_base_`` or import.
    """
    try:
        return Config.fromfile(path)
    except UserError:
        raise
    except SyntaxError as error:  # mmengine parses the text without the file's name
        line = f", line {error.lineno}" if error.lineno else ""
        shown = f": {error.text.strip()}" if error.text else ""
        raise UserError(f"config {path} is not valid Python{line}: {error.msg}{shown}.") from error
    except ImportError as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise UserError(
            f"config {path} has an import that fails: {reason}. For your own modules, set "
            "PYTHONPATH to their folder."
        ) from error
    except Exception as error:  # a config is a program, and may end in any
        text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
        line = f", line {frames[-1].lineno}" if frames else ""
        raise UserError(
            f"config {path} cannot be read{line}: {type(error).__name__}: {text}."
        ) from error

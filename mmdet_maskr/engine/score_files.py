"""The JSON file of scores that a test writes.

Clocks jump, so the newest of several is not told by names or times: earlier ones are taken away
before a test begins.
"""

from __future__ import annotations

from pathlib import Path

from mmdet_maskr.errors import UserError


def remove_score_files(work_dir: Path) -> None:
    """Take away what earlier tests in a work dir have left; logs and predictions stay."""
    for file in work_dir.glob("*/*.json"):
        file.unlink()


def score_file(work_dir: Path) -> Path:
    """What a test has left since :func:`remove_score_files`.

    Raises:
        UserError: it left none, or several tests ran.
    """
    files = sorted(work_dir.glob("*/*.json"))
    if not files:
        raise UserError(f"the test wrote no scores into {work_dir}.")
    if len(files) > 1:
        raise UserError(
            f"{work_dir} has scores of {len(files)} tests that ran at the same time, "
            f"{files[0]} and {files[-1]}: remove them and run the test again."
        )
    return files[0]

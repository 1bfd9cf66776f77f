"""Stores the options and data that a work dir was started with, to detect changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmdet_maskr.atomic_files import write_whole
from mmdet_maskr.engine.durable_files import has_checkpoint
from mmdet_maskr.errors import UserError

_RECORD = "recipe.json"
_FINISHED = "finished.json"


def write_record(folder: Path, digest: str, options: dict[str, Any]) -> None:
    """Store what a recipe was made from; written after the config, which is then complete."""
    (folder / _FINISHED).unlink(missing_ok=True)
    content = dict(digest=digest, options=options)
    write_whole(folder / _RECORD, json.dumps(content, indent=1))


def write_finished(folder: Path, iterations: int) -> None:
    """Store that the training of a recipe is finished.

    Args:
        folder: folder of the recipe.
        iterations: number of trained iterations; fewer than planned after an early stop.
    """
    write_whole(folder / _FINISHED, json.dumps(dict(iterations=iterations)))


def finished(folder: Path) -> int | None:
    """Number of iterations of a finished training; None if it is not finished."""
    try:
        return json.loads((folder / _FINISHED).read_text(encoding="utf-8"))["iterations"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def goes_on(work_dir: Path, config: Path, digest: str, options: dict[str, Any]) -> bool:
    """Whether a work dir already has the config for this data and these options.

    Args:
        work_dir: of the training.
        config: the recipe's config.
        digest: digest of the current data.
        options: options of the command, as in JSON.

    Raises:
        UserError: the work dir has a training with other data or options.
    """
    try:
        record = json.loads((config.parent / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        record = None
    begun = has_checkpoint(work_dir)
    if record is None or not config.is_file():
        if begun:
            raise UserError(
                f"{work_dir} has checkpoints of another training: choose another --work-dir."
            )
        return False
    if record["digest"] == digest and record["options"] == options:
        return True
    if not begun:
        return False
    if record["options"] != options:
        before, now = record["options"], options
        changed = [
            f"--{key.replace('_', '-')} was {before.get(key)} and is {now.get(key)}"
            for key in {**before, **now}
            if before.get(key) != now.get(key)
        ]
        raise UserError(
            f"{work_dir} has a training with other options ({'; '.join(changed)}): choose "
            "another --work-dir, or use the old options to resume it."
        )
    raise UserError(
        f"the photos or annotations have changed since the training in {work_dir} began. "
        "To start a new training on the changed data, choose another --work-dir; to "
        f"start it from the old weights, also add --weights {_best(work_dir)}. To resume "
        f"the old training with the changed data, run `maskr train {config} --resume`."
    )


def _best(work_dir: Path) -> Path:
    found = sorted(work_dir.glob("best_*.pth")) or sorted(work_dir.glob("iter_*.pth"))
    return found[-1] if found else work_dir / "iter_N.pth"

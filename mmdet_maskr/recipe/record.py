"""The options that a work dir was started with, to resume or to warn about changes; its end."""

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
    """Note what a recipe was made of; written after the config, which is whole then."""
    (folder / _FINISHED).unlink(missing_ok=True)
    content = dict(digest=digest, options=options)
    write_whole(folder / _RECORD, json.dumps(content, indent=1))


def write_finished(folder: Path, iterations: int) -> None:
    """Note that the training of a recipe has come to its end.

    Args:
        folder: of the recipe.
        iterations: that were trained: fewer than planned where it has stopped early.
    """
    write_whole(folder / _FINISHED, json.dumps(dict(iterations=iterations)))


def finished(folder: Path) -> int | None:
    """Iterations of a training that has come to its end; None of one that has not."""
    try:
        return json.loads((folder / _FINISHED).read_text(encoding="utf-8"))["iterations"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def goes_on(work_dir: Path, config: Path, digest: str, options: dict[str, Any]) -> bool:
    """Whether the config that lies in a work dir is the one that is asked for.

    Args:
        work_dir: of the training.
        config: that the recipe wrote.
        digest: of the data, as it is now.
        options: of the command, as JSON has them.

    Raises:
        UserError: a training of other data or options has begun there.
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

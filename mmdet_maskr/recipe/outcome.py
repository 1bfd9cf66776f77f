"""The outcome of a training: scores, best checkpoint, next commands."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

_NAMES = dict(bbox="box", segm="mask", keypoints="keypoint")
_ITEMS = ("mAP", "mAP_50", "mAP_75", "mAP_s", "mAP_m", "mAP_l")
_HEADS = ("AP", "AP50", "AP75", "small", "medium", "large")


@dataclass(frozen=True)
class Outcome:
    """The outcome of one training.

    Attributes:
        config: the config of the training.
        checkpoint: the best checkpoint.
        iteration: the iteration at which it was saved.
        score: name of the score that selected it, such as 'mask AP'.
        scores: its validation scores, by the evaluator's names.
        work_dir: work dir of the training.
    """

    config: Path
    checkpoint: Path | None
    iteration: int
    score: str
    scores: dict[str, float]
    work_dir: Path


def outcome_of(work_dir: Path, config: Path, best: str) -> Outcome:
    """Read the outcome from a work dir.

    Args:
        work_dir: work dir of the training.
        config: the config of the training.
        best: name of the score that selects the best checkpoint.
    """
    records = [record for record in _validations(work_dir) if best in record]
    chosen = max(records, key=lambda record: record[best], default={})
    found = sorted(work_dir.glob("best_*.pth"), key=lambda path: path.stat().st_mtime)
    last = sorted(work_dir.glob("iter_*.pth"), key=lambda path: path.stat().st_mtime)
    scores = {key: value for key, value in chosen.items() if key.startswith("coco/")}
    checkpoint = (found or last)[-1] if found or last else None
    number = re.search(r"_(\d+)\.pth$", checkpoint.name) if checkpoint else None
    score = f"{_NAMES[best.removeprefix('coco/').removesuffix('_mAP')]} AP"
    return Outcome(config, checkpoint, int(number[1]) if number else 0, score, scores, work_dir)


def _validations(work_dir: Path) -> list[dict]:
    """Lines of mmengine's logs that have scores, of all parts of a run that was interrupted."""
    found = []
    for file in sorted(work_dir.glob("*/vis_data/scalars.json")):
        for line in file.read_text(encoding="utf-8").splitlines():
            try:
                record = json.loads(line)
            except ValueError:  # cut off when the process was killed
                continue
            if any(key.startswith("coco/") for key in record):
                found.append(record)
    return found


def table(scores: dict[str, float]) -> str:
    """COCO AP in percent: one line for each of box, mask and keypoint, then one for each class."""
    lines = [" " * 10 + "".join(f"{head:>8}" for head in _HEADS)]
    for kind, name in _NAMES.items():
        values = [scores.get(f"coco/{kind}_{item}") for item in _ITEMS]
        if values[0] is not None:
            lines.append(f"{name:10}" + "".join(_percent(value) for value in values))
    classes = {
        key.removeprefix("coco/").removesuffix("_precision"): value
        for key, value in scores.items()
        if key.endswith("_precision")
    }
    # a class that is in no photo has NaN, and is the last
    best_first = sorted(classes.items(), key=lambda item: -item[1] if item[1] >= 0 else 2.0)
    for name, value in best_first[:20]:
        lines.append(f"  {name[:40]:40}{_percent(value)}")
    return "\n".join(lines)


def _percent(value: float | None) -> str:
    return f"{100 * value:8.1f}" if value is not None and value >= 0 else f"{'-':>8}"


def commands(outcome: Outcome, data_root: str) -> list[tuple[str, str]]:
    """Next steps with the model, and the command for each."""
    config, checkpoint = outcome.config, outcome.checkpoint
    return [
        ("Predict", f"maskr predict PHOTOS --weights {checkpoint} --config {config}"),
        ("Test", f"maskr test {config} {checkpoint} --show-dir pictures"),
        ("Export", f"maskr export {config} {checkpoint} {outcome.work_dir / 'exported'}"),
        ("Train on", f"maskr train {data_root} --weights {checkpoint} --work-dir NEW"),
    ]

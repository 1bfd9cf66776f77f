"""``maskr check FOLDER``: what a training would read from a folder, and its problems."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmdet_maskr.coco import check
from mmdet_maskr.coco.reader import read_annotations
from mmdet_maskr.datasets.formats.prepared import Prepared, Reading, prepare
from mmdet_maskr.errors import UserError
from mmdet_maskr.recipe import notes
from mmdet_maskr.recipe.facts import facts_of

Look = Callable[[dict, Path, bool], check.Report]


def check_folder(
    folder: Path, kind: str | None, classes: Sequence[str] | None, look: Look
) -> tuple[dict[str, Any], bool]:
    """Read a folder as ``maskr train FOLDER`` does, check it, and print what was found.

    Args:
        folder: of photos and annotations.
        kind: of the annotations; None where the folder tells.
        classes: that would be trained; None for all.
        look: checks content, its images below a folder, and keypoints if there are any.

    Returns:
        Document of what was printed, and whether it has errors.

    Raises:
        UserError: the folder cannot be read.
    """
    prepared = prepare(folder, Reading(kind))
    summary = prepared.summary
    refused = _tell(prepared, classes)
    document: dict[str, Any] = dict(folder=str(folder))
    document |= {key: summary[key] for key in ("format", "source", "classes", "leaks")}
    document["assumed"] = [dict(what=what, count=count) for what, count in summary["assumed"]]
    document["refused"], document["splits"] = refused, {}
    errors = refused is not None
    document["left_out"] = _left_out(prepared)
    errors |= bool(document["left_out"])
    for split, file in prepared.files.items():
        content = read_annotations(file)
        sizes = ", ".join(f"{len(content[key])} {key}" for key in ("images", "annotations"))
        print(f"{split}: {sizes}")
        report = look(content, prepared.root, summary["keypoints"] is not None)
        print(report.table())
        errors |= report.errors > 0
        document["splits"][split] = _counts(content) | dict(problems=report.rows())
    return document, errors


def _left_out(prepared: Prepared) -> list[dict[str, Any]]:
    """Print which photos a training leaves out, as they cannot be decoded; gives the rows."""
    report = check.Report()
    for path, reason in prepared.summary["unreadable"]:
        report.add(check.Problem("file-unreadable", path, reason))
    if report.errors:
        print(f"left out:\n{report.table()}")
    return report.rows()


def _tell(prepared: Prepared, classes: Sequence[str] | None) -> str | None:
    """Print what is said before a training; gives the reason why there would be none."""
    try:
        print(notes.told(prepared, facts_of(prepared, classes)))
    except UserError as error:
        print(f"{prepared.root}: {prepared.summary['format']}")
        print(f"ERROR: {error}")
        return str(error)
    return None


def _counts(content: dict) -> dict[str, Any]:
    names = {category["id"]: category["name"] for category in content["categories"]}
    objects = Counter(names[entry["category_id"]] for entry in content["annotations"])
    return dict(
        images=len(content["images"]),
        annotations=len(content["annotations"]),
        objects={name: objects[name] for name in names.values()},
        box_only=sum(not entry.get("segmentation") for entry in content["annotations"]),
    )

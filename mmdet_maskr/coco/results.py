"""Reading a file of COCO results: a list with an entry a detection."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from mmdet_maskr.coco.check.annotations import check_rle
from mmdet_maskr.coco.check.values import is_box, is_id, is_number
from mmdet_maskr.data_files import read_json
from mmdet_maskr.errors import UserError

HINT = (
    "maskr test writes such files with --cfg-options test_evaluator.outfile_prefix=PREFIX, "
    "MaskRInferencer with coco_json=FILE"
)


def read_results(file: str | Path) -> list[dict]:
    """Entries of a file of COCO results, whose fields are of the right types.

    Masks are looked at by :func:`check_results`, which knows the images.

    Args:
        file: its path.

    Returns:
        Dicts with ``image_id``, ``category_id``, ``score`` and any of ``bbox``, ``segmentation``
        and ``keypoints``.

    Raises:
        UserError: it is no such file; names the first wrong entry.
    """
    records = read_json(file, "file of COCO results", list, f"{HINT}.")
    for index, record in enumerate(records):
        wrong = what_is_wrong(record)
        if wrong is not None:
            raise UserError(f"{file}: entry {index} of the COCO results {wrong}. {HINT}.")
    return records


def check_results(
    records: Iterable[Mapping],
    images: Mapping[Any, Mapping],
    categories: Collection,
    file: str | Path,
    truth: str | Path,
) -> None:
    """Check that results are of the images and categories of an annotation file.

    Args:
        records: of :func:`read_results`.
        images: of the annotation file, by id, with ``width`` and ``height``.
        categories: ids of its categories.
        file: path of the results, for messages.
        truth: path of the annotation file, for messages.

    Raises:
        UserError: they are of others, or a mask is none of its image.
    """
    records = list(records)
    strangers = sorted({str(r["image_id"]) for r in records if not _is_in(r["image_id"], images)})
    if strangers:
        raise UserError(
            f"{file} has detections on {len(strangers)} images that are not in {truth}, e.g. "
            f"{strangers[0]}. Are they from the same dataset? (MaskRInferencer writes ids "
            "instead of file names if it is given ann_file.)"
        )
    unknown = sorted({r["category_id"] for r in records} - set(categories), key=str)
    if unknown:
        raise UserError(
            f"{file} has the category ids {unknown[:8]}, which {truth} does not have: it has "
            f"{sorted(categories, key=str)[:8]}, ..."
        )
    for index, record in enumerate(records):
        wrong = _what_is_wrong_with_mask(record.get("segmentation"), images[record["image_id"]])
        if wrong is not None:
            raise UserError(
                f"{file}: entry {index} of the COCO results (image {record['image_id']}) has a "
                f"segmentation that is {wrong}."
            )


def _is_in(value: Any, known: Collection) -> bool:
    try:
        return value in known
    except TypeError:  # no value that can be a key
        return False


def what_is_wrong(record: object) -> str | None:
    """What an entry lacks, as the end of a sentence, but for its mask; None where it is right."""
    if not isinstance(record, dict):
        return f"is of type {type(record).__name__}, no dictionary"
    for key in ("image_id", "category_id"):
        if not is_id(record.get(key)):
            return f"needs {key}, a whole number or a text"
    if not is_number(record.get("score")):
        return "needs score, a number"
    if record.get("bbox") is not None and not is_box(record["bbox"]):
        return "has a bbox that is not a list of four numbers"
    keypoints = record.get("keypoints")
    if keypoints is not None and not (
        isinstance(keypoints, list) and len(keypoints) % 3 == 0 and all(map(is_number, keypoints))
    ):
        return "has keypoints that are no list of three numbers for each"
    return None


def _what_is_wrong_with_mask(mask: Any, image: Mapping) -> str | None:
    if mask is None or mask == []:
        return None
    if isinstance(mask, Mapping):
        plain = dict(mask)
        if isinstance(plain.get("counts"), bytes):
            plain["counts"] = plain["counts"].decode("latin-1")
        if isinstance(plain.get("size"), tuple):
            plain["size"] = list(plain["size"])
        problem = next(check_rle(plain, "", image["width"], image["height"]), None)
        return problem and f"no run-length code of it: {problem.code} {problem.detail}"
    return "no run-length code, which masks of results are"

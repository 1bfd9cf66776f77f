"""Parsing an annotation file, and what it has to be as a whole."""

from __future__ import annotations

from typing import Any

from mmdet_maskr.data_files import parse_json
from mmdet_maskr.errors import UserError

SECTIONS = ("images", "annotations", "categories")


def parse_annotations(
    text: bytes, ann_file: str, may_lack_annotations: bool = False
) -> dict[str, Any]:
    """Parse the text of an annotation file; its entries are not looked at.

    Args:
        text: UTF-8.
        ann_file: path of the file, for messages.
        may_lack_annotations: take a file of images and categories alone, as COCO's test sets have.

    Raises:
        UserError: it is no JSON, nested too deeply, or no COCO instance file.
    """
    content = parse_json(text, f"annotation file {ann_file}")
    is_whole = not may_lack_annotations or not isinstance(content, dict)
    check_sections(content if is_whole else {"annotations": [], **content}, ann_file)
    return content


def check_sections(content: object, ann_file: str) -> None:
    """Check that a parsed annotation file is a COCO instance file with images and categories.

    Args:
        content: the parsed JSON.
        ann_file: path of the annotation file, for messages.

    Raises:
        UserError: it is no JSON object, or one of its three lists is missing or (but for the
            annotations) empty.
    """
    if not isinstance(content, dict):
        raise UserError(
            f"annotation file {ann_file} holds a {type(content).__name__}, not a COCO object with "
            f"{SECTIONS}; a list is COCO's format for results."
        )
    lacking = [key for key in SECTIONS if not isinstance(content.get(key), list)]
    if lacking:
        raise UserError(
            f"annotation file {ann_file} lacks {lacking}; it has {sorted(content)}. A COCO "
            f"instance file has the lists {SECTIONS}."
        )
    empty = [key for key in ("images", "categories") if not content[key]]
    if empty:
        raise UserError(
            f"annotation file {ann_file} has an empty list {empty}: there is nothing to do."
        )

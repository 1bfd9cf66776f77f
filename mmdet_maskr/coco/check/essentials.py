"""The quick check before every training: what would crash a library or exhaust memory."""

from __future__ import annotations

from mmdet_maskr.cli.spelling import call
from mmdet_maskr.coco.check.annotations import check_image, check_rle
from mmdet_maskr.coco.check.values import is_box, is_id, is_number, is_polygon
from mmdet_maskr.errors import UserError

HINT = f"{call('check FILE')} lists all such entries, and fixes a copy (--fix)"


def check_essentials(content: dict, ann_file: str) -> None:
    """Check that entries have the fields and types that loading relies on.

    Compiled code draws polygons and RLEs without checks, so each of them is checked here. ``maskr
    check`` does all other checks.

    Args:
        content: the parsed file.
        ann_file: its path, for messages.

    Raises:
        UserError: an entry is wrong; the message names the first one.
    """
    sizes = {}
    for index, image in enumerate(content["images"]):
        problem = next((p for p in check_image(image, index) if p.is_error), None)
        if problem is not None:
            raise UserError(
                f"{ann_file}: {problem.where}: {problem.code} {problem.detail}. {HINT}."
            )
        sizes[image["id"]] = (image["width"], image["height"])
    for index, category in enumerate(content["categories"]):
        if not (
            isinstance(category, dict)
            and is_id(category.get("id"))
            and isinstance(category.get("name"), str)
        ):
            raise UserError(f"{ann_file}: categories[{index}] needs an id and a name. {HINT}.")
    ids = set()
    for index, annotation in enumerate(content["annotations"]):
        wrong = _what_is_wrong(annotation, sizes)
        if wrong is None and annotation["id"] in ids:
            wrong = "has the id of another one"
        if wrong is not None:
            name = annotation.get("id") if isinstance(annotation, dict) else None
            raise UserError(f"{ann_file}: annotations[{index}] (id {name}) {wrong}. {HINT}.")
        ids.add(annotation["id"])


def _what_is_wrong(annotation: object, sizes: dict) -> str | None:
    if not isinstance(annotation, dict) or not is_id(annotation.get("id")):
        return "needs an id"
    for key in ("image_id", "category_id"):
        if not is_id(annotation.get(key)):
            return f"needs a whole number as {key}"
    if not is_box(annotation.get("bbox")):
        return "needs a bbox of four numbers"
    if not is_number(annotation.get("area")):
        return "needs an area, a number"
    mask, size = annotation.get("segmentation"), sizes.get(annotation["image_id"])
    if isinstance(mask, dict) and size is not None:
        problem = next(check_rle(mask, "", *size), None)
        return problem and f"has an RLE that is wrong: {problem.code} {problem.detail}"
    if isinstance(mask, list) and not all(map(is_polygon, mask)):
        return "has a polygon that is not a list of numbers, in pixels"
    if mask is not None and not isinstance(mask, (list, dict)):
        return f"has a segmentation of type {type(mask).__name__}"
    return None

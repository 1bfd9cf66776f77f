"""Repairs values of COCO files whose meaning is clear.

Numbers stored as strings, integers with a decimal point, missing and duplicate ids, shifted ids,
boxes in fractions of the image, single objects marked as crowds. The input may be any JSON value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from mmdet_maskr.coco.check.boxes import scaled_polygons
from mmdet_maskr.coco.check.crowds import Crowds
from mmdet_maskr.coco.check.problems import Problem
from mmdet_maskr.coco.check.trainable import FRACTION, meant_ids, shifted
from mmdet_maskr.coco.check.values import LARGEST, is_box, is_id, is_number, number_of, whole_of

IMAGE_ENTRY = "image"  # kinds of entries that a cleaned copy fixes, and but for categories leaves
ANNOTATION_ENTRY = "annotation"  # out
CATEGORY_ENTRY = "category"
SECTIONS = {
    IMAGE_ENTRY: "images",
    ANNOTATION_ENTRY: "annotations",
    CATEGORY_ENTRY: "categories",
}
Located = tuple[str, int, Problem]


def fix(content: dict) -> tuple[dict, list[Located]]:
    """Return a copy of the file's lists with these repairs, and the problems found."""
    fixed = {
        **content,
        **{
            section: [dict(e) if isinstance(e, dict) else e for e in content[section]]
            for section in SECTIONS.values()
        },
    }
    problems: list[Located] = []
    for kind, find in _STEPS:
        entries = fixed[SECTIONS[kind]]
        for index, problem in find(fixed):
            problems.append((kind, index, problem))
            entries[index].update(problem.repair or {})
    return fixed, problems


Step = Callable[[dict], Iterator[tuple[int, Problem]]]


def _dicts(content: dict, section: str) -> Iterator[tuple[int, dict]]:
    return ((i, e) for i, e in enumerate(content[section]) if isinstance(e, dict))


def _name(entry: dict, index: int, kind: str) -> str:
    return f"{kind} {entry['id']}" if is_id(entry.get("id")) else f"{SECTIONS[kind]}[{index}]"


# ------------------------------------------------------------------------------ images, categories
def _own_ids(kind: str, reference: str) -> Step:
    """Ids of images or categories: numbers with a point; positions where all lack one."""

    def find(content: dict) -> Iterator[tuple[int, Problem]]:
        entries = list(_dicts(content, SECTIONS[kind]))
        if entries and all(entry.get("id") is None for _, entry in entries):
            first = _first_position(content, reference, len(entries))
            if first is not None:
                for index, entry in entries:
                    where = _name(entry, index, kind)
                    yield index, Problem("entry", where, "needs an id", dict(id=index + first))
            return
        for index, entry in entries:
            value = entry.get("id")
            if not is_id(value) and whole_of(value) is not None:
                where = _name(entry, index, kind)
                yield index, Problem("entry", where, f"id {value}", dict(id=whole_of(value)))

    return find


def _first_position(content: dict, reference: str, count: int) -> int | None:
    """0 or 1, from which annotations count images or categories that have no ids."""
    used = {whole_of(a.get(reference)) for _, a in _dicts(content, "annotations")}
    fits = [
        first
        for first in (0, 1)
        if used and all(i is not None and first <= i < first + count for i in used)
    ]
    return fits[0] if len(fits) == 1 else None


def _sizes(content: dict) -> Iterator[tuple[int, Problem]]:
    for index, image in _dicts(content, "images"):
        for side in ("width", "height"):
            value, whole = image.get(side), whole_of(image.get(side))
            if (type(value) is not int) and whole is not None and 0 < whole <= LARGEST:
                where = _name(image, index, IMAGE_ENTRY)
                yield index, Problem("entry", where, f"{side} {value!r}"[:40], {side: whole})


def _names(content: dict) -> Iterator[tuple[int, Problem]]:
    for index, category in _dicts(content, "categories"):
        value = category.get("name")
        if is_number(value):
            where = _name(category, index, CATEGORY_ENTRY)
            yield index, Problem("entry", where, f"name {value}, a number", dict(name=str(value)))


# -------------------------------------------------------------------------------------- references
def _references(content: dict) -> Iterator[tuple[int, Problem]]:
    """``image_id`` and ``category_id`` of another type than the ids that they mean."""
    for field, section, code in (
        ("image_id", "images", "image-unknown"),
        ("category_id", "categories", "category-unknown"),
    ):
        ids = [e["id"] for _, e in _dicts(content, section) if is_id(e.get("id"))]
        known = {(type(i), i) for i in ids}
        by_text: dict[str, set] = {}
        for i in ids:
            by_text.setdefault(str(i), set()).add(i)
        for index, annotation in _dicts(content, "annotations"):
            value = annotation.get(field)
            if (is_id(value) and (type(value), value) in known) or isinstance(value, bool):
                continue
            whole = whole_of(value)
            text = str(value if whole is None else whole)
            meant = by_text.get(text, set()) if isinstance(value, (int, float, str)) else set()
            if len(meant) == 1:
                where = _name(annotation, index, ANNOTATION_ENTRY)
                repair = {field: next(iter(meant))}
                yield index, Problem(code, where, f"{field} {value!r}"[:40], repair)


def _annotation_ids(content: dict) -> Iterator[tuple[int, Problem]]:
    """Missing and doubled ids of annotations: nothing refers to them, so they are numbered anew."""
    entries = list(_dicts(content, "annotations"))
    numbers = [a["id"] for _, a in entries if is_id(a.get("id")) and isinstance(a["id"], int)]
    free = max([0, *numbers]) + 1
    if free >= 1 << 62:
        free = 1
    seen: dict = {}
    for index, annotation in entries:
        value = annotation.get("id")
        key = (type(value), value) if is_id(value) else None
        if key is not None and key not in seen:
            seen[key] = annotation
            continue
        if key is None:
            code, detail = "entry", "needs an id"
        elif seen[key] == annotation:  # the same one twice: left out
            continue
        else:
            code, detail = "annotation-id-doubled", ""
        whole = whole_of(value)
        if key is None and whole is not None and (int, whole) not in seen:
            number = whole
        else:
            while (int, free) in seen or free in numbers:
                free += 1
            number, free = free, free + 1
        seen[int, number] = annotation
        where = _name(annotation, index, ANNOTATION_ENTRY)
        yield index, Problem(code, where, detail, dict(id=number))


# ----------------------------------------------------------------------------------------- numbers
def _numbers(content: dict) -> Iterator[tuple[int, Problem]]:
    """Numbers of annotations as texts, and run lengths with a point."""
    for index, annotation in _dicts(content, "annotations"):
        where = _name(annotation, index, ANNOTATION_ENTRY)
        for field, code in (("bbox", "entry"), ("keypoints", "entry")):
            values = _listed(annotation.get(field), number_of)
            if values is not None:
                yield index, Problem(code, where, f"{field} with texts", {field: values})
        area = annotation.get("area")
        if isinstance(area, str) and number_of(area) is not None:
            yield index, Problem("area", where, repr(area)[:20], dict(area=number_of(area)))
        mask = annotation.get("segmentation")
        if isinstance(mask, dict):
            yield from ((index, p) for p in _run_lengths(mask, where))
        elif isinstance(mask, list):
            fixed = _polygons(mask)
            if fixed is not None:
                detail = "polygons that are texts or one flat list"
                yield index, Problem("entry", where, detail, dict(segmentation=fixed))


def _run_lengths(mask: dict, where: str) -> Iterator[Problem]:
    repair = {}
    for key, code in (("size", "entry"), ("counts", "rle-counts")):
        values = _listed(mask.get(key), whole_of, whole=True)
        if values is not None:
            repair[key] = values
            fixed = dict(segmentation={**mask, **repair})
            yield Problem(code, where, f"{key} of the RLE", fixed)


def _polygons(mask: list) -> list | None:
    """Polygons of numbers; None where they are already, or cannot be."""
    if len(mask) >= 6 and not any(isinstance(item, (list, dict)) for item in mask):
        flat = [number_of(item) for item in mask]
        return None if None in flat else [flat]
    fixed = [_listed(polygon, number_of) for polygon in mask]
    if not any(values is not None for values in fixed):
        return None
    return [old if new is None else new for old, new in zip(mask, fixed, strict=True)]


def _listed(values: Any, read: Callable[[Any], Any], whole: bool = False) -> list | None:
    """A list with each entry read; None where nothing changes or one cannot be read."""
    wrong = (str, float) if whole else str
    if not isinstance(values, list) or not any(isinstance(v, wrong) for v in values):
        return None
    fixed = [read(value) for value in values]
    return None if None in fixed else fixed


# -------------------------------------------------------------------------- of the file as a whole
def _category_shift(content: dict) -> Iterator[tuple[int, Problem]]:
    known = [c["id"] for _, c in _dicts(content, "categories") if is_id(c.get("id"))]
    used = {a["category_id"] for _, a in _dicts(content, "annotations")
            if is_id(a.get("category_id"))}  # fmt: skip
    meant = meant_ids(used, known)
    for index, annotation in _dicts(content, "annotations") if meant else ():
        if is_id(value := annotation.get("category_id")):
            where = _name(annotation, index, ANNOTATION_ENTRY)
            detail = f"category_id {value}" if index else shifted(used, known)
            repair = dict(category_id=(meant or {})[value])
            yield index, Problem("category-ids-shifted", where, detail, repair)


def _image_shift(content: dict) -> Iterator[tuple[int, Problem]]:
    """Annotations whose ``image_id`` may be one off: of some there is no image.

    There is another reading, a file that lacks an image; so none is changed.
    """
    known = {i["id"] for _, i in _dicts(content, "images") if is_id(i.get("id"))}
    used = {a["image_id"] for _, a in _dicts(content, "annotations") if is_id(a.get("image_id"))}
    if used <= known or not all(isinstance(i, int) for i in used | known):
        return
    fits = [step for step in (1, -1) if all(i + step in known for i in used)]
    if len(fits) != 1:
        return
    detail = f"annotations have {min(used)} to {max(used)}, images {min(known)} to {max(known)}"
    for index, annotation in _dicts(content, "annotations"):
        if is_id(annotation.get("image_id")):
            where = _name(annotation, index, ANNOTATION_ENTRY)
            yield index, Problem("image-ids-shifted", where, detail)


def _crowds(content: dict) -> Iterator[tuple[int, Problem]]:
    """``iscrowd`` of single objects."""
    crowds = Crowds(content["annotations"])
    for index, annotation in _dicts(content, "annotations") if crowds.single else ():
        if is_id(annotation.get("category_id")) and crowds.is_single(annotation):
            where = _name(annotation, index, ANNOTATION_ENTRY)
            yield index, Problem("crowd-single", where, "", dict(iscrowd=0))


def _fractions(content: dict) -> Iterator[tuple[int, Problem]]:
    """Boxes, and polygons with them, in fractions of the image: no number is above 1."""
    sizes: dict[Any, tuple[int, int]] = {}
    for _, image in _dicts(content, "images"):
        width, height = image.get("width"), image.get("height")
        if is_id(image.get("id")) and isinstance(width, int) and isinstance(height, int):
            if width > 1 and height > 1:
                sizes[type(image["id"]), image["id"]] = width, height
    having = [(i, a) for i, a in _dicts(content, "annotations") if is_box(a.get("bbox"))]
    if not having or max(max(map(abs, a["bbox"])) for _, a in having) > FRACTION:
        return
    for index, annotation in having:
        image_id = annotation.get("image_id")
        size = sizes.get((type(image_id), image_id)) if is_id(image_id) else None
        if size is None or min(annotation["bbox"][2:]) <= 0:
            continue
        width, height = size
        x, y, w, h = annotation["bbox"]
        repair: dict = dict(bbox=[x * width, y * height, w * width, h * height])
        mask, area = annotation.get("segmentation"), annotation.get("area")
        if isinstance(mask, list) and all(map(_is_fraction, mask)):
            repair["segmentation"] = scaled_polygons(mask, width, height)
        if is_number(area) and 0 < area <= FRACTION:
            repair["area"] = area * width * height
        where = _name(annotation, index, ANNOTATION_ENTRY)
        yield index, Problem("boxes-in-fractions", where, str(annotation["bbox"])[:60], repair)


def _is_fraction(polygon: Any) -> bool:
    return isinstance(polygon, list) and all(is_number(v) and abs(v) <= FRACTION for v in polygon)


_STEPS: list[tuple[str, Step]] = [
    (IMAGE_ENTRY, _own_ids(IMAGE_ENTRY, "image_id")),
    (CATEGORY_ENTRY, _own_ids(CATEGORY_ENTRY, "category_id")),
    (IMAGE_ENTRY, _sizes),
    (CATEGORY_ENTRY, _names),
    (ANNOTATION_ENTRY, _annotation_ids),
    (ANNOTATION_ENTRY, _references),
    (ANNOTATION_ENTRY, _numbers),
    (ANNOTATION_ENTRY, _image_shift),
    (ANNOTATION_ENTRY, _category_shift),
    (ANNOTATION_ENTRY, _crowds),
    (ANNOTATION_ENTRY, _fractions),
]

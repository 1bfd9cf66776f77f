"""VGG Image Annotator: versions 1 and 2 (annotations or a project, as JSON or CSV), and 3."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mmdet_maskr.data_files import read_text
from mmdet_maskr.datasets.formats.folder import Folder, reading
from mmdet_maskr.datasets.formats.records import Collection, Object, split_of
from mmdet_maskr.datasets.formats.shapes import ellipse, rectangle
from mmdet_maskr.errors import UserError

NAME = "VIA"
ONLY_CLASS = "object"  # where regions have no attributes
_CSV_HEAD = ("filename", "region_shape_attributes", "region_attributes")
_KINDS_3 = {1: "point", 2: "rect", 3: "circle", 4: "ellipse", 5: "line", 6: "polyline",
            7: "polygon", 8: "rect", 9: "circle"}  # fmt: skip


def find(folder: Folder) -> list[Path]:
    """Its JSON and CSV files."""
    found = [path for path in folder.of_kind(".json") if _version(folder.json(path))]
    return found + [path for path in folder.of_kind(".csv") if _is_csv(path)]


def _version(content: Any) -> int | None:
    if not isinstance(content, dict) or not content:
        return None
    if isinstance(content.get("_via_img_metadata"), dict):
        return 2
    if {"file", "view", "metadata", "attribute"} <= set(content):
        return 3
    first = next(iter(content.values()))
    return 2 if isinstance(first, dict) and {"filename", "regions"} <= set(first) else None


def _is_csv(path: Path) -> bool:
    try:
        with open(path, encoding="utf-8-sig") as file:
            head = file.readline(1000)
    except (OSError, UnicodeDecodeError):
        return False
    return all(name in head for name in _CSV_HEAD)


def read(folder: Folder, sources: list[Path]) -> Collection:
    """Read them. The class is the attribute that all regions have; parts are objects each."""
    found = Collection(NAME)
    entries = []
    for path in sources:
        with reading(path, NAME):
            if path.suffix.lower() == ".csv":
                regions = list(_of_csv(path))
            elif _version(folder.json(path)) == 3:
                regions = list(_of_version_3(folder.json(path)))
            else:
                regions = list(_of_version_2(folder.json(path)))
            entries += [(path, *entry) for entry in regions]
    chosen = {name for path in sources for name in _chosen_attributes(folder, path)}
    attribute = _class_attribute([a for *_, regions in entries for _, a in regions], chosen, found)
    for path, name, regions in entries:
        with reading(path, NAME):
            photo = folder.photo(found, name, path.parent)
            if photo is None:
                continue
            photo.split = split_of(path.relative_to(folder.root).parts[:-1])
            for shape, attributes in regions:
                made = _object(shape, _label(attributes, attribute), found)
                if made is not None:
                    photo.objects.append(made)
    return found


Region = tuple[dict, dict]  # shape attributes, region attributes


def _of_version_2(content: dict) -> Iterator[tuple[str, list[Region]]]:
    for entry in content.get("_via_img_metadata", content).values():
        regions = entry["regions"]
        each = regions.values() if isinstance(regions, dict) else regions  # version 1
        yield (
            entry["filename"],
            [
                (dict(region["shape_attributes"]), dict(region.get("region_attributes") or {}))
                for region in each
            ],
        )


def _of_csv(path: Path) -> Iterator[tuple[str, list[Region]]]:
    regions: dict[str, list[Region]] = defaultdict(list)
    for row in csv.DictReader(io.StringIO(read_text(path, "annotation file"))):
        shape = json.loads(row["region_shape_attributes"])
        listed = regions[row["filename"]]
        if shape:
            listed.append((shape, json.loads(row["region_attributes"])))
    yield from regions.items()


def _of_version_3(content: dict) -> Iterator[tuple[str, list[Region]]]:
    attributes = content["attribute"]
    by_view: dict[str, list[Region]] = defaultdict(list)
    for entry in content["metadata"].values():
        if not entry["xy"]:
            continue
        kind, *values = entry["xy"]
        shape: dict[str, Any] = dict(name=_KINDS_3.get(int(kind), "unknown"))
        if shape["name"] == "rect":
            shape |= dict(zip(("x", "y", "width", "height"), values, strict=True))
        elif shape["name"] == "circle":
            shape |= dict(zip(("cx", "cy", "r"), values, strict=True))
        elif shape["name"] == "ellipse":
            shape |= dict(zip(("cx", "cy", "rx", "ry"), values[:4], strict=True))
        else:
            shape |= dict(all_points_x=values[::2], all_points_y=values[1::2])
        named = {}
        for key, value in entry.get("av", {}).items():
            options = attributes.get(key, {}).get("options", {})
            named[attributes.get(key, {}).get("aname", key)] = options.get(str(value), value)
        by_view[str(entry["vid"])].append((shape, named))
    for key, view in content["view"].items():
        if len(view["fid_list"]) == 1:
            file = content["file"][str(view["fid_list"][0])]
            yield file["fname"], by_view.get(str(key), [])


def _chosen_attributes(folder: Folder, path: Path) -> list[str]:
    """Attributes of regions whose values are chosen from a list, by a project of VIA 2 or 3."""
    content = folder.json(path) if path.suffix.lower() == ".json" else {}
    declared = (content.get("_via_attributes") or {}).get("region") or {}
    names = [name for name, entry in declared.items() if entry.get("options")]
    newer = content.get("attribute") or {} if _version(content) == 3 else {}
    return names + [entry["aname"] for entry in newer.values() if entry.get("options")]


def _class_attribute(regions: Iterable[dict], chosen: set[str], found: Collection) -> str | None:
    """The attribute that is the class: the only one, or the one that most regions have a text of.

    Of those that as many have, it is the one whose values are chosen from a list, or the one that
    is called like a class.

    Args:
        regions: attributes of each.
        chosen: attributes whose values are chosen from a list.
        found: takes a note where there are none.

    Raises:
        UserError: two that as many have.
    """
    counts: Counter[str] = Counter()
    total = 0
    for attributes in regions:
        total += 1
        counts.update(key for key, value in attributes.items() if _text_of(value))
    if not counts:
        if total:
            found.assumed[f"regions without attributes, of class {ONLY_CLASS!r}"] += total
        return None
    most = counts.most_common(2)
    if len(most) > 1 and most[0][1] == most[1][1]:
        common = ("class", "label", "name", "type", "category", "object", "species")
        equal = [key for key in counts if counts[key] == most[0][1]]
        called = [key for key in equal if key in chosen]
        if len(called) != 1:
            called = [key for key in called or equal if key.lower() in common]
        if len(called) != 1:
            raise UserError(
                f"regions have the attributes {', '.join(map(repr, counts))}: export from "
                "VIA with only the attribute that is the class."
            )
        return called[0]
    return most[0][0]


def _text_of(value: Any) -> str:
    if isinstance(value, dict):  # a group of check boxes
        chosen = [str(key) for key, on in value.items() if on]
        return chosen[0] if len(chosen) == 1 else ""
    return str(value).strip() if value is not None else ""


def _label(attributes: dict, attribute: str | None) -> str:
    if attribute is None:
        return ONLY_CLASS
    return _text_of(attributes.get(attribute))


def _object(shape: dict, label: str, found: Collection) -> Object | None:
    kind = shape["name"]
    if not label:
        found.assumed["regions without a class, left out"] += 1
        return None
    made = Object(label)
    if kind == "polygon" or (kind == "polyline" and len(shape["all_points_x"]) > 2):
        points = zip(shape["all_points_x"], shape["all_points_y"], strict=True)
        made.polygons = [[float(v) for point in points for v in point]]
        if kind == "polyline":
            found.assumed["lines of more than two points, closed to polygons"] += 1
    elif kind == "rect":
        made.polygons = [rectangle(*(float(shape[k]) for k in ("x", "y", "width", "height")))]
    elif kind == "circle":
        radius = float(shape["r"])
        made.polygons = [ellipse(float(shape["cx"]), float(shape["cy"]), radius, radius)]
    elif kind == "ellipse":
        x, y, rx, ry = (float(shape[k]) for k in ("cx", "cy", "rx", "ry"))
        made.polygons = [ellipse(x, y, rx, ry, float(shape.get("theta", 0)))]
    else:
        found.assumed[f"regions of type {kind}, which have no area, left out"] += 1
        return None
    found.add_class(label)
    return made

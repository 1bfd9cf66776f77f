"""COCO JSON, in the variants that tools write."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from mmdet_maskr.coco.check.crowds import Crowds
from mmdet_maskr.coco.check.fixing import fix
from mmdet_maskr.coco.check.values import crowd_flag
from mmdet_maskr.datasets.formats.agreement import joined_up
from mmdet_maskr.datasets.formats.folder import Folder, reading
from mmdet_maskr.datasets.formats.records import Collection, Object, split_of
from mmdet_maskr.datasets.formats.tidy import tidy
from mmdet_maskr.errors import UserError

NAME = "COCO"
_LISTS = ("images", "annotations", "categories")


def find(folder: Folder) -> list[Path]:
    """Its JSON files."""
    return [path for path in folder.of_kind(".json") if _is_coco(folder.json(path))]


def _is_coco(content: Any) -> bool:
    return isinstance(content, dict) and all(isinstance(content.get(key), list) for key in _LISTS)


def read(folder: Folder, sources: list[Path]) -> Collection:
    """Read them; keypoints of a ``person_keypoints`` file join the masks of ``instances``.

    Raises:
        UserError: two files annotate the same images, and differ.
    """
    each = []
    for path in sources:
        partner = path.with_name(re.sub("^person_keypoints", "instances", path.name))
        if partner != path and partner in sources:
            continue  # read with the masks
        keypoints = path.with_name(re.sub("^instances", "person_keypoints", path.name))
        joined = folder.json(keypoints) if keypoints != path and keypoints in sources else None
        found = Collection(NAME, source=str(path))
        with reading(path, "a tool for COCO"):
            _read_file(folder, path, joined, found)
            tidy(found)
        each.append(found)
    return joined_up(each)


def _read_file(folder: Folder, path: Path, joined: dict | None, found: Collection) -> None:
    content, repaired = fix({**folder.json(path)})
    if repaired:
        codes = Counter(problem.code for _, _, problem in repaired)
        found.assumed.update({f"values repaired ({code})": n for code, n in codes.items()})
    content["annotations"] = _joined(content["annotations"], joined, found)
    used = Counter(a.get("category_id") for a in content["annotations"] if isinstance(a, dict))
    names = _class_names(content["categories"], used, found)
    if joined is not None:
        _class_names(joined["categories"], used, found)
    by_image: dict[Any, list[dict]] = defaultdict(list)
    for annotation in content["annotations"]:
        if isinstance(annotation, dict):
            by_image[annotation.get("image_id")].append(annotation)
    crowds = Crowds(content["annotations"])
    if crowds.single:
        single = {names.get(category, category) for category in crowds.single}
        count = sum(crowds.flagged[category] for category in crowds.single)
        found.assumed[f"crowds of {', '.join(map(str, single))}, taken as single objects"] += count
    split = _split(path, folder)
    for image in content["images"]:
        annotations = by_image.pop(image["id"], [])
        photo = folder.photo(found, image["file_name"], path.parent,
                             (image.get("width"), image.get("height")), split)  # fmt: skip
        if photo is None:
            continue
        photo.split = split
        for annotation in annotations:
            made = _object(annotation, names, crowds, found)
            if made is not None:
                photo.objects.append(made)
    if by_image:
        orphans = sum(map(len, by_image.values()))
        found.assumed["annotations of images that the file does not list, left out"] += orphans
    _name_keypoints(found)


def _name_keypoints(found: Collection) -> None:
    """Number the keypoints of classes that name none, as most of their objects have them."""
    counts: dict[str, Counter[int]] = defaultdict(Counter)
    for photo in found.photos:
        for item in photo.objects:
            if item.keypoints is not None and item.label not in found.keypoints:
                counts[item.label][len(item.keypoints) // 3] += 1
    for label, lengths in counts.items():
        joints = lengths.most_common(1)[0][0]
        found.keypoints[label] = [f"keypoint_{i}" for i in range(joints)]
        found.assumed[f"keypoints of {label!r}, which the file does not name"] += joints


def _split(path: Path, folder: Folder) -> str | None:
    words = [word for word in re.split(r"[^A-Za-z0-9]+", path.stem) if word]
    return split_of([*path.relative_to(folder.root).parts[:-1], *words])


def _joined(annotations: list, other: dict | None, found: Collection) -> list:
    """Annotations with the keypoints that a second file has of the same ids."""
    if other is None:
        return annotations
    by_id = {a["id"]: a for a in other["annotations"]}
    both = []
    for annotation in annotations:
        twin = by_id.pop(annotation["id"], None)
        if twin is not None and twin["image_id"] == annotation["image_id"]:
            annotation = {**annotation, "keypoints": twin["keypoints"]}
        both.append(annotation)
    if by_id:
        found.assumed["annotations with keypoints that the masks' file lacks, left out"] += len(
            by_id
        )
    return both


def _class_names(categories: list[dict], used: Counter, found: Collection) -> dict[Any, str]:
    """Names by id. A name that occurs twice is one class; a project's own entry is none."""
    ids = [category["id"] for category in categories]
    parents = {category.get("supercategory") for category in categories}
    names: dict[Any, str] = {}
    kept = []
    for category in categories:
        number, name = category["id"], str(category["name"])
        if number in names and names[number] != name:
            raise UserError(
                f"category id {number} is {names[number]!r} and {name!r}: each category id "
                "must have one name."
            )
        project = category.get("supercategory") == "none" and name in parents and number == 0
        if project and not used[number] and len(ids) > 1:
            continue  # Roboflow lists the project before its classes
        names[number] = name
        if name not in kept:
            kept.append(name)
        if category.get("keypoints"):
            found.keypoints[name] = [str(joint) for joint in category["keypoints"]]
            found.skeletons[name] = [list(pair) for pair in category.get("skeleton") or []]
    if len(ids) != len(kept):
        found.assumed["entries of categories that repeat another, or name the project"] += len(
            ids
        ) - len(kept)
    for name in kept:
        found.add_class(name)
    return names


def _object(annotation: dict, names: dict, crowds: Crowds, found: Collection) -> Object | None:
    if annotation.get("category_id") not in names:
        found.assumed["annotations of a category that the file does not list, left out"] += 1
        return None
    made = Object(names[annotation["category_id"]], box=annotation.get("bbox") or None)
    flagged = crowd_flag(annotation.get("iscrowd")) == 1
    made.crowd = flagged and not crowds.is_single(annotation)
    mask = annotation.get("segmentation")
    if isinstance(mask, dict):
        made.rle = mask
    elif isinstance(mask, list):
        made.polygons = [_flat(polygon) for polygon in mask]
    if annotation.get("keypoints"):
        made.keypoints = [float(v) for v in annotation["keypoints"]]
    return made


def _flat(polygon: list) -> list[float]:
    """A polygon as a flat list, also of points."""
    if polygon and isinstance(polygon[0], (list, tuple)):
        return [float(v) for point in polygon for v in point[:2]]
    if polygon and isinstance(polygon[0], dict):
        return [float(point[axis]) for point in polygon for axis in "xy"]
    return [float(v) for v in polygon]

"""CVAT for images 1.1: one XML for a task."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element

from mmdet_maskr.datasets.formats.folder import Folder, reading
from mmdet_maskr.datasets.formats.records import Collection, Crop, Object, split_of
from mmdet_maskr.datasets.formats.shapes import ellipse, rectangle, row_runs

NAME = "CVAT XML"
_JOINT_SEEN = {(False, False): 2.0, (True, False): 1.0, (False, True): 0.0, (True, True): 0.0}


def find(folder: Folder) -> list[Path]:
    """Its XML files."""
    roots = ((path, folder.xml(path)) for path in folder.of_kind(".xml"))
    return [path for path, root in roots if root is not None and root.tag == "annotations"]


def read(folder: Folder, sources: list[Path]) -> Collection:
    """Read them. Shapes with the same group and label are parts of one object."""
    found = Collection(NAME)
    for path in sources:
        with reading(path, NAME):
            root = folder.xml(path)
            assert root is not None
            _read_labels(root, found)
            tracks = len(root.findall("track"))
            if tracks:
                found.assumed["tracks of a video, left out (export it as images)"] += tracks
            for entry in root.findall("image"):
                size = entry.get("width"), entry.get("height")
                photo = folder.photo(found, entry.attrib["name"], path.parent, size)
                if photo is None:
                    continue
                subset = entry.get("subset") or ""
                photo.split = split_of([*path.relative_to(folder.root).parts[:-1], subset])
                for shape in entry:
                    made = _object(shape, found, f"{path}, image {entry.attrib['name']}")
                    if made is not None:
                        photo.objects.append(made)
    return found


def _read_labels(root: Element, found: Collection) -> None:
    """Classes in the task's order; a skeleton's joints are its keypoints."""
    for label in root.iter("label"):
        name, parent = label.findtext("name"), label.findtext("parent")
        if not name:
            continue
        if parent:
            joints = found.keypoints.setdefault(parent, [])
            if name not in joints:
                joints.append(name)
        else:
            found.add_class(name)


def _object(shape: Element, found: Collection, named: str) -> Object | None:
    at = shape.attrib
    if shape.tag == "tag":
        return None
    group = at.get("group_id")
    made = Object(at["label"], group=group if group not in (None, "", "0") else None)
    if shape.tag == "polygon":
        made.polygons = [_points(at["points"])]
    elif shape.tag == "box":
        x, y, x1, y1 = (float(at[key]) for key in ("xtl", "ytl", "xbr", "ybr"))
        if float(at.get("rotation", 0)):
            found.assumed["boxes that are turned, taken as outlines"] += 1
            made.polygons = [_turned(x, y, x1, y1, float(at["rotation"]))]
        else:
            made.box = [x, y, x1 - x, y1 - y]
    elif shape.tag == "ellipse":
        made.polygons = [ellipse(*(float(at[key]) for key in ("cx", "cy", "rx", "ry")))]
    elif shape.tag == "mask":
        width, height = int(at["width"]), int(at["height"])
        runs = [int(run) for run in at["rle"].split(",")]
        pixels = row_runs(runs, width, height, f"{named}, mask")
        made.crop = Crop(pixels, int(at["left"]), int(at["top"]))
    elif shape.tag == "skeleton":
        made.keypoints = _joints(shape, found)
    else:
        found.assumed[f"shapes of type {shape.tag}, which have no area, left out"] += 1
        return None
    found.add_class(made.label)
    return made


def _points(text: str) -> list[float]:
    return [float(value) for point in text.split(";") for value in point.split(",")]


def _turned(x: float, y: float, x1: float, y1: float, degrees: float) -> list[float]:
    """A rectangle that is turned about its center."""
    corners = rectangle(0, 0, x1 - x, y1 - y, degrees)
    shift_x = (x + x1) / 2 - (corners[0] + corners[4]) / 2
    shift_y = (y + y1) / 2 - (corners[1] + corners[5]) / 2
    return [v + (shift_y if i % 2 else shift_x) for i, v in enumerate(corners)]


def _joints(skeleton: Element, found: Collection) -> list[float]:
    label = skeleton.attrib["label"]
    names = found.keypoints.setdefault(label, [])
    values = {}
    for point in skeleton.findall("points"):
        name = point.attrib["label"]
        if name not in names:
            names.append(name)
        x, y = _points(point.attrib["points"])
        occluded, outside = (point.get(key) == "1" for key in ("occluded", "outside"))
        seen = _JOINT_SEEN[occluded, outside]
        values[name] = [x, y, seen] if seen else [0.0, 0.0, 0.0]
    return [v for name in names for v in values.get(name, [0.0, 0.0, 0.0])]

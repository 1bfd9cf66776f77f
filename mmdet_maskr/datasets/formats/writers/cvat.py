"""CVAT for images 1.1: ``annotations.xml``."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement

import numpy as np
from pycocotools import mask as coco

from mmdet_maskr.atomic_files import write_whole
from mmdet_maskr.datasets.formats.records import Collection, Object
from mmdet_maskr.datasets.formats.tracing import parts_of

IMAGES = "images"
_JOINT = {0: ("0", "1"), 1: ("1", "0"), 2: ("0", "0")}  # occluded, outside, by visibility


def write(collection: Collection, names: Mapping[Path, str], out: Path) -> Counter[str]:
    """Write the file. Several parts, and holes, are masks; mask and skeleton share a group."""
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    _write_labels(collection, SubElement(SubElement(SubElement(root, "meta"), "task"), "labels"))
    for number, photo in enumerate(collection.photos):
        image = SubElement(root, "image", id=str(number), name=names[photo.path],
                           width=str(photo.width), height=str(photo.height))  # fmt: skip
        for group, item in enumerate(photo.objects, start=1):
            shared = dict(label=item.label, source="auto", z_order="0")
            if item.keypoints is not None:
                shared["group_id"] = str(group)
            _write_area(image, item, shared)
            if item.keypoints is not None:
                _write_joints(image, item, shared, collection.keypoints[item.label])
    ElementTree.indent(root)
    write_whole(out / "annotations.xml", ElementTree.tostring(root, "unicode"))
    return Counter()


def _write_labels(collection: Collection, labels: Element) -> None:
    for name in collection.classes:
        joints = collection.keypoints.get(name, [])
        label = SubElement(labels, "label")
        SubElement(label, "name").text = name
        SubElement(label, "type").text = "skeleton" if joints else "any"
        for joint in joints:
            inner = SubElement(labels, "label")
            SubElement(inner, "name").text = joint
            SubElement(inner, "type").text = "points"
            SubElement(inner, "parent").text = name


def _write_area(image: Element, item: Object, shared: dict[str, str]) -> None:
    if item.rle is None:
        if item.box is not None:
            x, y, w, h = item.box
            corners = dict(xtl=x, ytl=y, xbr=x + w, ybr=y + h)
            SubElement(image, "box", shared | {k: f"{v:.2f}" for k, v in corners.items()})
        return
    parts = parts_of(item.rle)
    if len(parts) == 1 and not parts[0].holes:
        points = np.reshape(parts[0].outline, (-1, 2))
        text = ";".join(f"{x:.2f},{y:.2f}" for x, y in points)
        SubElement(image, "polygon", shared | dict(points=text))
    elif parts:
        x, y, w, h = (int(value) for value in coco.toBbox(item.rle))
        crop = coco.decode(item.rle)[y : y + h, x : x + w]
        place = dict(left=x, top=y, width=w, height=h)
        text = ", ".join(map(str, _row_runs(crop)))
        SubElement(image, "mask", shared | dict(rle=text, **{k: str(v) for k, v in place.items()}))


def _row_runs(crop: np.ndarray) -> list[int]:
    """Lengths of runs along the rows, outside first."""
    flat = np.concatenate([[0], crop.ravel()])
    ends = [*np.flatnonzero(np.diff(flat)).tolist(), crop.size]
    return np.diff([0, *ends]).tolist()


def _write_joints(image: Element, item: Object, shared: dict[str, str], joints: list[str]) -> None:
    skeleton = SubElement(image, "skeleton", shared)
    for name, (x, y, seen) in zip(joints, np.reshape(item.keypoints or [], (-1, 3)), strict=True):
        occluded, outside = _JOINT[int(seen)]
        SubElement(skeleton, "points", label=name, source="auto", occluded=occluded,
                   outside=outside, points=f"{x:.2f},{y:.2f}")  # fmt: skip

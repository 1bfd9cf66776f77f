"""Label Studio: ``tasks.json`` with predictions, and ``label_config.xml`` for the project."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np
from pycocotools import mask as coco

from mmdet_maskr.atomic_files import write_whole
from mmdet_maskr.datasets.formats.records import Collection, Object, Photo
from mmdet_maskr.datasets.formats.tracing import parts_of

IMAGES = "images"
CONTROLS = dict(polygon="PolygonLabels", rectangle="RectangleLabels", brush="BrushLabels")
WORD, SIZES = 8, (3, 4, 8, 16)  # bits of a value, and of the four sizes of run lengths


def write(collection: Collection, names: Mapping[Path, str], out: Path) -> Counter[str]:
    """Write both files. Several parts, and holes, are brushes.

    Images are addressed as local storage's whose root (``LOCAL_FILES_DOCUMENT_ROOT``) is ``out``.
    """
    left_out: Counter[str] = Counter()
    tasks = []
    for number, photo in enumerate(collection.photos, start=1):
        regions = [_region(item, photo, f"{number}-{i}") for i, item in enumerate(photo.objects)]
        prediction = dict(model_version="maskr", result=[r for r in regions if r is not None])
        address = f"/data/local-files/?d={IMAGES}/{names[photo.path]}"
        tasks.append(dict(id=number, data=dict(image=address), predictions=[prediction]))
        left_out["keypoints of an object"] += sum(o.keypoints is not None for o in photo.objects)
    write_whole(out / "tasks.json", json.dumps(tasks))
    write_whole(out / "label_config.xml", _config(collection.classes))
    return +left_out


def _config(classes: list[str]) -> str:
    view = Element("View")
    SubElement(view, "Image", name="image", value="$image")
    for name, tag in CONTROLS.items():
        control = SubElement(view, tag, name=name, toName="image")
        for label in classes:
            SubElement(control, "Label", value=label)
    indent(view)
    return tostring(view, "unicode")


def _region(item: Object, photo: Photo, name: str) -> dict[str, Any] | None:
    """A region; its coordinates are in percent of the photo."""
    assert photo.width and photo.height
    size = np.array([photo.width, photo.height])
    parts = [] if item.rle is None else parts_of(item.rle)
    if len(parts) == 1 and not parts[0].holes:
        points = np.reshape(parts[0].outline, (-1, 2)) / size * 100
        kind, value = "polygon", dict(points=points.tolist(), closed=True)
    elif parts:
        kind, value = "brush", dict(format="rle", rle=brush(coco.decode(item.rle)))
    elif item.box is not None:
        x, y, w, h = item.box
        x, w, y, h = 100 * x / size[0], 100 * w / size[0], 100 * y / size[1], 100 * h / size[1]
        kind, value = "rectangle", dict(x=x, y=y, width=w, height=h, rotation=0)
    else:
        return None
    labels = f"{kind}labels"
    return dict(
        id=name, type=labels, from_name=kind, to_name="image", original_width=photo.width,
        original_height=photo.height, image_rotation=0, value={**value, labels: [item.label]},
    )  # fmt: skip


def brush(mask: np.ndarray) -> list[int]:
    """Run lengths of a mask (H, W) as Label Studio packs them; see its reader for the layout."""
    values = np.repeat(mask.ravel().astype(np.int64) * 255, 4)  # red, green, blue, opacity
    bits = [_bits(len(values), 32), _bits(WORD - 1, 5), *(_bits(size - 1, 4) for size in SIZES)]
    starts = np.concatenate([[0], np.flatnonzero(np.diff(values)) + 1])
    longest = 1 << SIZES[-1]
    for start, length in zip(starts, np.diff([*starts, len(values)]), strict=True):
        left = int(length)
        while left:
            run = min(left, longest)
            size = next(i for i, width in enumerate(SIZES) if run <= 1 << width)
            bits += ["1", _bits(size, 2), _bits(run - 1, SIZES[size])]
            bits.append(_bits(int(values[start]), WORD))
            left -= run
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return [int(text[i : i + 8], 2) for i in range(0, len(text), 8)]


def _bits(number: int, width: int) -> str:
    return f"{number:0{width}b}"

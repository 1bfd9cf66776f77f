"""Annotation files of a few entries, of all kinds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask


def rle(x: int, height: int = 60, width: int = 80) -> dict:
    mask = np.zeros((height, width), np.uint8, order="F")
    mask[10:20, x : x + 12] = 1
    found = pycocotools.mask.encode(mask)
    return dict(size=list(found["size"]), counts=found["counts"].decode())


def content() -> dict[str, Any]:
    """A file with all kinds of entries that have no mistake."""
    images = [
        dict(id=7, file_name="é/a.jpg", width=80, height=60, license=3, coco_url="http://x/a.jpg"),
        dict(id=3, file_name="b.jpg", width=80, height=60),
        dict(id=5, file_name="c.jpg", width=80, height=60),
    ]
    square = [10.25, 10.5, 30.0, 10.5, 30.0, 20.0, 10.25, 20.0]
    annotations = [
        dict(bbox=[10.25, 10.5, 19.75, 9.5], segmentation=[square], iscrowd=0),
        dict(bbox=[10.25, 10.5, 19.75, 9.5], segmentation=[square, [1.0, 2.0], square]),
        dict(bbox=[1.0, 2.0, 3.0, 4.0], segmentation=[[v + 1 / 3 for v in square]], ignore=1),
        dict(bbox=[20.0, 10.0, 12.0, 10.0], segmentation=rle(20), iscrowd=1),
        dict(bbox=[0.0, 0.0, 5.0, 60.0], segmentation=dict(size=[60, 80], counts=[0, 300, 4500])),
        dict(bbox=[1.0, 2.0, 3.0, 4.0], segmentation=None, iscrowd="1", ignore=2.5),
        dict(
            bbox=[1.0, 2.0, 3.0, 4.0],
            segmentation=[],
            attributes={"parts": [{"a": 1}, {"b": "}, {"}]},
        ),
        dict(bbox=[1.0, 2.0, 3.0, 4.0], keypoints=[1.0, 2.0, 2.0], num_keypoints=1),
        dict(bbox=[1.0, 2.0, 3.0, 4.0], keypoints=[], num_keypoints="many", caption="\u2028 ü"),
        dict(bbox=[1.0, 2.0, 3.0, 4.0], image_id=99),  # of no image
    ]
    for number, annotation in enumerate(annotations):
        annotation["id"] = 1000 - number
        annotation.setdefault("image_id", (7, 3)[number % 2])
        annotation.update(category_id=(18, 2)[number % 2], area=float(number + 1))
    return dict(
        info={"year": 2026},
        images=images,
        annotations=annotations,
        categories=[dict(id=18, name="dog", supercategory="animal"), dict(id=2, name="bicycle")],
        videos=[{"id": 1}, {"id": 2}],
    )


def alike(**further: list) -> dict[str, Any]:
    """A file whose entries have the same fields, as COCO's.

    Args:
        further: fields of annotations, with a value for each of the first ones.
    """
    parsed = content()
    kept = [a for a in parsed["annotations"] if isinstance(a.get("segmentation"), list | dict)]
    kept = kept[: min([len(kept), *map(len, further.values())])]
    for number, annotation in enumerate(kept):
        for field in ("attributes", "ignore"):
            annotation.pop(field, None)
        annotation["iscrowd"] = number % 2
        annotation.update({field: values[number] for field, values in further.items()})
    for image in parsed["images"]:
        image.setdefault("license", 4)
        image["coco_url"] = f"http://x/{image['id']}.jpg"
    return dict(parsed, annotations=kept)


def write(path: Path, parsed: Any, **options: Any) -> Path:
    path.write_text(json.dumps(parsed, **options), encoding="utf-8")
    return path


def refuse(text: bytes) -> dict:
    raise AssertionError("the fast way is in doubt")

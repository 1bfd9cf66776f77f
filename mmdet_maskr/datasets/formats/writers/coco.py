"""COCO: ``annotations.json``, with polygons where a mask has no holes and RLEs elsewhere."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mmdet_maskr.atomic_files import write_whole
from mmdet_maskr.datasets.formats.output import to_coco
from mmdet_maskr.datasets.formats.records import Collection, Object
from mmdet_maskr.datasets.formats.tracing import parts_of

IMAGES = "images"


def write(collection: Collection, names: Mapping[Path, str], out: Path) -> Counter[str]:
    """Write the file. It holds all that a record has."""
    photos = [
        replace(p, objects=[_editable(item) for item in p.objects]) for p in collection.photos
    ]
    write_whole(out / "annotations.json", json.dumps(to_coco(collection, photos, names)))
    return Counter()


def _editable(item: Object) -> Object:
    """An object whose mask is polygons, if it has no holes."""
    parts = [] if item.rle is None else parts_of(item.rle)
    if not parts or any(part.holes for part in parts):
        return item
    return replace(item, rle=None, polygons=[part.outline for part in parts])

"""Small data sets in the formats and folders of the real ones, made of the synthetic shapes."""

from __future__ import annotations

import json
from pathlib import Path

from mmdet.datasets import CocoDataset


def write_coco(root: Path, shapes: Path) -> Path:
    """COCO 2017: the shapes are the first six of the 80 classes.

    Args:
        root: the new data set's folder.
        shapes: of the shapes data set.
    """
    categories = [
        dict(id=i, name=name, supercategory="thing")
        for i, name in enumerate(CocoDataset.METAINFO["classes"], 1)
    ]
    (root / "annotations").mkdir(parents=True)
    for split in ("train", "val"):
        content = json.loads((shapes / f"annotations/instances_{split}.json").read_text())
        content["categories"] = categories
        (root / f"annotations/instances_{split}2017.json").write_text(json.dumps(content))
        (root / f"{split}2017").symlink_to(shapes / split)
    return root

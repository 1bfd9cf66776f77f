"""A small dataset of birds with three keypoints, and what a test changes of it."""

from __future__ import annotations

import json
from pathlib import Path

from mmdet.registry import DATASETS

import mmdet_maskr  # noqa: F401  (registers the datasets)

NAMES = ("left_wing", "beak", "right_wing")
BIRD = dict(
    keypoints=NAMES,
    keypoint_swaps=(("left_wing", "right_wing"),),
    keypoint_sigmas=(0.05, 0.02, 0.05),
)


def annotation(number: int, image: int = 1, **changes: object) -> dict:
    """A 'bird' (category 4) whose box, area and keypoints tell which annotation it is."""
    content = dict(
        id=number,
        image_id=image,
        category_id=4,
        bbox=[number, 2, 10, 8],
        area=80 + number,
        iscrowd=0,
        segmentation=[[number, 2, number + 10, 2, number + 10, 10]],
        keypoints=[number, 5, 2, number + 1.5, 6, 1, 0, 0, 0],
        num_keypoints=2,
    )
    content.update(changes)
    return {key: value for key, value in content.items() if value is not None}


def coco(*annotations: dict) -> dict:
    return dict(
        images=[dict(id=i, file_name=f"{i}.png", height=60, width=80) for i in (1, 2, 3)],
        annotations=list(annotations or [annotation(11), annotation(12, 2)]),
        categories=[dict(id=4, name="bird"), dict(id=2, name="nest")],
    )


def write(root: Path, content: dict, name: str = "ann.json") -> None:
    for image in content["images"]:
        (root / image["file_name"]).touch()
    (root / name).write_text(json.dumps(content), encoding="utf-8")


def build(root: Path, metainfo: dict | None = None, **options: object):
    config = dict(
        type="CocoKeypointDataset",
        data_root=str(root),
        ann_file="ann.json",
        data_prefix=dict(img=""),
        metainfo={"classes": ("bird",), **BIRD, **(metainfo or {})},
        pipeline=[],
    )
    return DATASETS.build({**config, **options})


def instances(dataset: object) -> list[dict]:
    return [i for k in range(len(dataset)) for i in dataset.get_data_info(k)["instances"]]

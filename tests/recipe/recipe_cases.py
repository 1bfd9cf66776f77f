"""Small folders of photos, what is known of a larger one, and the config that is written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from mmengine.config import Config
from PIL import Image

from mmdet_maskr.datasets.formats.prepared import Reading, prepare
from mmdet_maskr.engine.config_checks import check_config
from mmdet_maskr.engine.config_parts import check_parts
from mmdet_maskr.engine.config_reading import read_config
from mmdet_maskr.recipe.facts import Facts, facts_of
from mmdet_maskr.recipe.machine import Machine
from mmdet_maskr.recipe.plan import (
    Wishes,
    first_plan,
)
from mmdet_maskr.recipe.recipe import config_text
from mmdet_maskr.recipe.starting import Start

CPU = Machine(None, 0.0, 2)
NONE = Start(None, None, "none")


def photos(root: Path, count: int = 12, masks: bool = True, keypoints: bool = False) -> Path:
    """COCO's form: leaves in each photo, a stone in every sixth one."""
    root.mkdir(parents=True)
    images, annotations = [], []
    for i in range(count):
        pixels = np.random.default_rng(i).integers(0, 255, (64, 96, 3), np.uint8)
        Image.fromarray(pixels).save(root / f"{i}.png")
        images.append(dict(id=i, file_name=f"{i}.png", width=96, height=64))
        for kind in [1, 1] + [2] * (i % 6 == 0):
            x, y = 5 + 20 * len(annotations) % 60, 10
            made = dict(id=len(annotations), image_id=i, category_id=kind, bbox=[x, y, 20, 30])
            if masks:
                made["segmentation"] = [[x, y, x + 20, y, x + 20, y + 30, x, y + 30]]
            if keypoints and kind == 1:
                made["keypoints"] = [x, y, 2, x + 9, y + 9, 2]
            annotations.append(made)
    categories = [dict(id=1, name="leaf"), dict(id=2, name="stone")]
    if keypoints:
        categories[0]["keypoints"] = ["left_tip", "right_tip"]
    content = dict(images=images, annotations=annotations, categories=categories)
    (root / "annotations.json").write_text(json.dumps(content), encoding="utf-8")
    return root


def facts(**changed: object) -> Facts:
    known = dict(
        images=200, negatives=0, counts=dict(leaf=900, stone=300), val_images=50,
        val_counts=dict(leaf=200, stone=60), width=640.0, height=480.0,
        sizes=np.linspace(40, 160, 1200), aspects=np.linspace(0.6, 1.6, 1200), most_objects=12,
        many_objects=9, masks=1.0, val_masks=260, keypoints=None, classes=("leaf", "stone"),
    )  # fmt: skip
    return Facts(**{**known, **changed})


def written(
    root: Path,
    tmp_path: Path,
    start: Start = NONE,
    wishes: Wishes = Wishes(),  # noqa: B008 (it is frozen)
    **options: object,
) -> Config:
    prepared = prepare(root)
    found = facts_of(prepared)
    plan = first_plan(found, CPU, start.small, wishes)
    text = config_text(
        found,
        plan,
        CPU,
        wishes,
        start,
        prepared,
        Reading(),
        str(root),
        tmp_path / "work",
        tmp_path / "model.py",
        options,
    )
    path = tmp_path / "config.py"
    path.write_text(text, encoding="utf-8")
    cfg = read_config(str(path))
    check_config(cfg, str(path), "train")
    check_parts(cfg, ("train", "val", "test"))
    return cfg

"""A run that ended: config, logs, a checkpoint's file, and detections made from ground truth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from mmengine.config import Config
from pycocotools import mask as mask_api
from pycocotools.coco import COCO

REPO = Path(__file__).resolve().parents[2]


def write_run(folder: Path, root: Path, seed: int = 0, most: int = 100) -> Path:
    """The work dir of a shapes model, with ``found.json`` in it.

    Every fifth object is missed, every fifth one is of another class, masks are shifted by a pixel,
    and each image has one detection of nothing, in its corner.
    """
    cfg = Config.fromfile(REPO / "configs" / "mini" / "maskr_shapes.py")
    cfg.data_root = str(root)
    for split in ("train", "val", "test"):
        cfg[f"{split}_dataloader"].dataset.data_root = str(root)
    for split in ("val", "test"):
        cfg[f"{split}_evaluator"].ann_file = str(root / "annotations" / "instances_val.json")
    cfg.model.test_cfg.rcnn.max_per_img = most
    folder.mkdir(parents=True)
    cfg.dump(folder / "shapes.py")
    (folder / "epoch_2.pth").write_bytes(b"weights")
    (folder / "last_checkpoint").write_text(str(folder / "epoch_2.pth"))
    logs = folder / "20260101_000000" / "vis_data"
    logs.mkdir(parents=True)
    lines = [dict(loss=3 / i, loss_mask=1 / i, lr=0.01, iter=10 * i, step=10 * i, epoch=1)
             for i in range(1, 9)]  # fmt: skip
    lines += [{"coco/bbox_mAP": 0.1 * e, "coco/segm_mAP": 0.09 * e, "step": e} for e in (1, 2)]
    (logs / "scalars.json").write_text("\n".join(map(json.dumps, lines)) + "\n")
    truth = COCO(root / "annotations" / "instances_val.json")
    (folder / "found.json").write_text(json.dumps(detections(truth, seed)))
    return folder


def detections(truth: COCO, seed: int) -> list[dict]:
    """COCO results, see :func:`write_run`."""
    rng = np.random.default_rng(seed)
    categories = sorted(truth.cats)
    entries = []
    objects = [a for a in truth.dataset["annotations"] if not a["iscrowd"]]
    for number, ann in enumerate(objects):
        if number % 5 == 0:
            continue
        category = ann["category_id"]
        if number % 5 == 1:
            category = categories[(categories.index(category) + 1) % len(categories)]
        mask = np.roll(mask_api.decode(truth.annToRLE(ann)), 1, axis=1)
        score = 0.95 - 0.05 * (number % 5) - 0.01 * float(rng.random())
        entries.append(_entry(ann["image_id"], category, mask, score))
    for image_id, info in truth.imgs.items():
        mask = np.zeros((info["height"], info["width"]), np.uint8)
        mask[-9:, -9:] = 1
        entries.append(_entry(image_id, categories[0], mask, 0.97))
    return entries


def _entry(image_id: int, category: int, mask: np.ndarray, score: float) -> dict:
    rle = mask_api.encode(np.asfortranarray(mask))
    box = mask_api.toBbox(rle).tolist()
    rle["counts"] = rle["counts"].decode()
    return dict(
        image_id=image_id, category_id=category, bbox=box, segmentation=rle, score=round(score, 5)
    )

"""Predictions made of ground truth, and COCO's results put together from them by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pycocotools.mask
import torch
from mmdet.registry import METRICS
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import mmdet_maskr  # noqa: F401  (registers the metric)
from mmdet_maskr.ops.mask_rle import RLEMasks

BOX_KEYS = ("mAP", "mAP_50", "mAP_75", "mAP_s", "mAP_m", "mAP_l")
KEYPOINT_KEYS = ("mAP", "mAP_50", "mAP_75", "mAP_m", "mAP_l")
ALL = ["bbox", "segm", "keypoints"]

SIGMAS = (0.03, 0.05, 0.07, 0.09, 0.11)
TINY = dict(
    classes=("fish", "bird"),
    keypoints=("a", "b", "c", "d", "e"),
    keypoint_swaps=(("b", "c"),),
    keypoint_sigmas=SIGMAS,
)


class Predictions:
    """Ground truth of two files (which may be one) as a model's output, disturbed or not.

    ``samples`` are data samples as dicts; ``by_hand`` maps each metric to COCO results that hold
    the same detections, put together here without the metric.
    """

    def __init__(
        self, boxes: Path, keypoints: Path, count: int, noise: float = 0.0, seed: int = 0
    ) -> None:
        rng = np.random.default_rng(seed)
        self.boxes, self.keypoints = COCO(str(boxes)), COCO(str(keypoints))
        self.category_ids = [c["id"] for c in self.boxes.dataset["categories"]]
        self.samples: list[dict] = []
        self.by_hand: dict[str, list[dict]] = {name: [] for name in ALL}
        for image in self.boxes.dataset["images"]:
            found = [a for a in self.boxes.imgToAnns[image["id"]] if not a["iscrowd"]]
            if noise:
                found = [a for a in found if rng.random() > 0.2]
                found += [a for a in found if rng.random() < 0.3]
            self._add(image, [self._detection(a, count, noise, rng) for a in found], count)

    def _detection(
        self, annotation: dict, count: int, noise: float, rng: np.random.Generator
    ) -> dict:
        x, y, w, h = annotation["bbox"]
        size = np.array([w, h])
        corners = np.array([[x, y], [x + w, y + h]]) + rng.normal(0, noise, (2, 2)) * size
        mask = self.boxes.annToMask(annotation)
        if noise:
            mask = np.roll(mask, rng.integers(-3, 4, 2), (0, 1))
        of = self.keypoints.anns.get(annotation["id"], {})
        points = np.array(of.get("keypoints") or [0] * 3 * count, float).reshape(-1, 3)
        if not points[:, 2].any():  # unlabeled: any place in the box will do
            points[:, :2] = (x + w / 2, y + h / 2)
        points = points[:, :2] + 0.5 + rng.normal(0, noise, (count, 2)) * size
        return dict(
            category_id=annotation["category_id"],
            box=corners.ravel().astype(np.float32),
            score=np.float32(rng.random() if noise else 1.0),
            mask=pycocotools.mask.encode(np.asfortranarray(mask)),
            has_keypoints="keypoints" in of,
            points=points.astype(np.float32),
            point_scores=rng.random(count).astype(np.float32),
        )

    def _add(self, image: dict, found: list[dict], count: int) -> None:
        size = (image["height"], image["width"])
        pred = dict(
            bboxes=tensor([d["box"] for d in found], (0, 4)),
            scores=tensor([d["score"] for d in found], (0,)),
            labels=torch.tensor([self.category_ids.index(d["category_id"]) for d in found]).long(),
            masks=RLEMasks([dict(d["mask"]) for d in found], size),
            keypoints=tensor([d["points"] for d in found], (0, count, 2)),
            keypoint_scores=tensor([d["point_scores"] for d in found], (0, count)),
        )
        self.samples.append(dict(img_id=image["id"], ori_shape=size, pred_instances=pred))
        for d in found:
            shared = dict(
                image_id=image["id"], category_id=d["category_id"], score=float(d["score"])
            )
            x1, y1, x2, y2 = d["box"].tolist()
            self.by_hand["bbox"].append(dict(shared, bbox=[x1, y1, x2 - x1, y2 - y1]))
            self.by_hand["segm"].append(dict(shared, segmentation=d["mask"]))
            if d["has_keypoints"]:
                triples = np.zeros((count, 3))
                triples[:, :2] = d["points"].astype(float) - 0.5
                triples[:, 2] = d["point_scores"]
                self.by_hand["keypoints"].append(dict(shared, keypoints=triples.ravel().tolist()))

    def stats(self, metric: str, sigmas: tuple = (), category_ids: tuple = ()) -> np.ndarray:
        truth = self.keypoints if metric == "keypoints" else self.boxes
        evaluation = COCOeval(truth, truth.loadRes(self.by_hand[metric]), metric)
        if metric == "keypoints":
            evaluation.params.kpt_oks_sigmas = np.array(sigmas)
            evaluation.params.catIds = list(category_ids)
        else:
            evaluation.params.maxDets = [100, 300, 1000]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        return evaluation.stats


def tensor(values: list, empty: tuple) -> torch.Tensor:
    return torch.from_numpy(np.array(values, np.float32)) if values else torch.zeros(empty)


def score(samples: list[dict], meta: dict, batch: int = 3, **options) -> dict[str, float]:
    metric = METRICS.build(dict(type="CocoInstanceMetric", **options))
    metric.dataset_meta = meta
    for start in range(0, len(samples), batch):
        metric.process({}, samples[start : start + batch])
    return metric.evaluate(len(samples))


def expected(stats: np.ndarray, metric: str) -> dict[str, float]:
    keys = KEYPOINT_KEYS if metric == "keypoints" else BOX_KEYS
    return {f"coco/{metric}_{key}": round(float(stats[i]), 3) for i, key in enumerate(keys)}


def without_detections(samples: list[dict]) -> list[dict]:
    return [
        dict(s, pred_instances={k: values[:0] for k, values in s["pred_instances"].items()})
        for s in samples
    ]


def write_tiny(folder: Path) -> Path:
    """K = 5; categories fish (id 7) and bird (3), two images with two of each; one unlabeled."""
    rng = np.random.default_rng(0)
    annotations = []
    for index, (image, category) in enumerate([(i, c) for i in (1, 2) for c in (7, 7, 3, 3)]):
        x, y = 5 + 50 * (index % 4), 10
        points = np.column_stack([rng.uniform((x, y), (x + 40, y + 60), (5, 2)), [2, 1, 2, 2, 2]])
        annotation = dict(id=index + 1, image_id=image, category_id=category, iscrowd=0)
        annotation.update(bbox=[x, y, 40, 60], area=1800.0)
        annotation.update(segmentation=[[x, y, x + 40, y, x + 40, y + 60, x, y + 60]])
        annotation.update(keypoints=points.ravel().tolist(), num_keypoints=5)
        annotations.append(annotation)
    for key in ("keypoints", "num_keypoints"):
        annotations[1].pop(key)  # a fish that nobody labeled
    return write(folder, annotations)


def write(folder: Path, annotations: list[dict]) -> Path:
    content = dict(
        images=[dict(id=i, file_name=f"{i}.png", height=100, width=210) for i in (1, 2)],
        annotations=annotations,
        categories=[dict(id=7, name="fish"), dict(id=3, name="bird")],
    )
    file = folder / "tiny.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def rewrite(file: Path, change: Callable[[list[dict]], None]) -> None:
    annotations = json.loads(file.read_text())["annotations"]
    change(annotations)
    write(file.parent, annotations)

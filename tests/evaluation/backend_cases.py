"""Random and degenerate ground truth and detections, for comparing evaluation libraries.

Sizes, scores and areas are drawn so that ties and border values are frequent: whole pixels, five
possible scores, areas of exactly 32 x 32 and 96 x 96, boxes that occur twice, boxes without area.
"""

from __future__ import annotations

import numpy as np
import pycocotools.mask

from mmdet_maskr.coco.detections import Detections
from mmdet_maskr.evaluation.backends import EvaluationInput
from mmdet_maskr.evaluation.ground_truth import GroundTruth

HEIGHT, WIDTH = 120, 160
CATEGORIES = (7, 3, 12, 1)
UNUSED = 99  # a category without annotations and detections
AREAS = (32.0**2, 96.0**2, 32.0**2 - 1e-3, 0.0, 1e10)  # COCO's borders of sizes, and beyond
BOX_MAX_DETS = ((1, 10, 100), (100, 300, 1000), (1, 2, 100))


def random_comparison(kind: str, seed: int) -> EvaluationInput:
    """Up to 6 images and 4 categories, some with nothing; some with many more detections."""
    rng = np.random.default_rng(seed)
    case = _Case(kind, rng)
    categories = CATEGORIES[: rng.integers(1, 5)]
    images = rng.permutation(np.arange(10, 10 + rng.integers(1, 7))).tolist()
    crowded = rng.random() < 0.3
    for image in images:
        for category in categories:
            boxes = case.truth_boxes(0 if rng.random() < 0.25 else rng.integers(0, 6))
            annotated = [case.annotate(image, category, box) for box in boxes]
            count = 0 if rng.random() < 0.2 else rng.integers(0, 8) * (6 if crowded else 1)
            for _ in range(count):
                case.detect(image, category, annotated)
    scored = list(categories)[: 1 if rng.random() < 0.2 else None]
    truth = dict(
        images=[dict(id=i, width=WIDTH, height=HEIGHT) for i in images],
        categories=[dict(id=c, name=str(c)) for c in (*categories, UNUSED)],
        annotations=case.annotations,
    )
    return comparison_of(
        kind,
        truth,
        [case.found[i] for i in rng.permutation(len(case.found))],
        category_ids=[*scored, UNUSED] if rng.random() < 0.3 else scored,
        image_ids=images[: 2 if rng.random() < 0.2 else None],
        thresholds=np.linspace(0.5, 0.95, 10) if rng.random() < 0.8 else np.array([0.3, 0.5, 0.75]),
        max_dets=(20,) if kind == "keypoints" else BOX_MAX_DETS[rng.integers(3)],
        use_categories=kind == "keypoints" or rng.random() < 0.8,
        sigmas=rng.uniform(0.02, 0.12, case.num_keypoints) if kind == "keypoints" else None,
    )


def comparison_of(kind: str, truth: dict, found: list[dict], **options) -> EvaluationInput:
    """A comparison of COCO's dicts."""
    coco = GroundTruth()
    coco.annotation_file = "truth.json"
    coco.dataset = truth
    coco.createIndex()
    detections = Detections.from_coco(found, kind)
    return EvaluationInput(kind, coco, detections, **options)


class _Case:
    def __init__(self, kind: str, rng: np.random.Generator) -> None:
        self.kind, self.rng = kind, rng
        self.whole_pixels = rng.random() < 0.5
        self.num_keypoints = int(rng.choice([1, 5, 9, 17]))
        self.unlabeled = rng.choice([0.0, 0.5])
        self.annotations: list[dict] = []
        self.found: list[dict] = []

    def truth_boxes(self, count: int) -> list[np.ndarray]:
        rng, boxes = self.rng, []
        for _ in range(count):
            size = np.array([rng.choice([4, 8, 16, 32, 96]), rng.choice([4, 8, 16, 32, 96])], float)
            if rng.random() < 0.5:
                size *= rng.uniform(0.7, 1.2, 2)
            box = np.concatenate([rng.uniform(0, 100, 2), size])
            twice = boxes and rng.random() < 0.2
            boxes.append(boxes[-1] if twice else box.round() if self.whole_pixels else box)
        return boxes

    def annotate(self, image: int, category: int, box: np.ndarray) -> dict:
        rng, area = self.rng, float(box[2] * box[3])
        annotation = dict(
            id=len(self.annotations) + 1,
            image_id=image,
            category_id=category,
            bbox=box.tolist(),
            iscrowd=int(rng.random() < 0.2),
            area=float(rng.choice([area, 0.6 * area, *AREAS])),
        )
        if rng.random() < 0.1:
            annotation["ignore"] = 1  # COCO's evaluation takes iscrowd instead
        if self.kind == "segm":
            polygon = not annotation["iscrowd"] and rng.random() < 0.6
            mask = self._polygons(box) if polygon else self._mask(box)
            uncompressed = annotation["iscrowd"] and rng.random() < 0.5
            annotation["segmentation"] = _runs(mask) if uncompressed else mask
        if self.kind == "keypoints":
            self._add_keypoints(annotation, box)
        self.annotations.append(annotation)
        return annotation

    def detect(self, image: int, category: int, annotated: list[dict]) -> None:
        rng, near = self.rng, None
        if annotated and rng.random() < 0.7:
            near = annotated[rng.integers(len(annotated))]
            box = np.array(near["bbox"])
            if rng.random() < 0.6:
                box += rng.normal(0, 0.1, 4) * box[[2, 3, 2, 3]]
        else:
            box = np.concatenate([rng.uniform(-10, 100, 2), rng.uniform(0, 100, 2)])
        if self.whole_pixels:
            box = box.round()
        if rng.random() < 0.05:
            box[2:] = 0
        box = box.astype(np.float32).astype(float)
        score = rng.random() if rng.random() < 0.5 else rng.choice([0, 0.25, 0.5, 0.75, 1])
        entry = dict(image_id=image, category_id=category, score=float(np.float32(score)))
        if self.kind == "bbox":
            entry["bbox"] = box.tolist()
        elif self.kind == "segm":
            entry["segmentation"] = self._mask(box)
        else:
            entry["keypoints"] = self._detected_keypoints(near, box)
        self.found += [entry] * (2 if rng.random() < 0.05 else 1)

    def _polygons(self, box: np.ndarray) -> list[list[float]]:
        """A convex outline, sometimes with a second part; or a wild one that leaves the image."""
        rng, count = self.rng, self.rng.integers(3, 9)
        if rng.random() < 0.3:
            return [rng.uniform(-20, 180, 2 * count).tolist()]
        angles = np.sort(rng.uniform(0, 2 * np.pi, count))
        around = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        points = box[:2] + box[2:] / 2 * (1 + around)
        parts = [points.round(rng.integers(0, 3)).ravel().tolist()]
        if rng.random() < 0.3:
            x, y, w, h = box.tolist()
            parts.append([x, y, x + w / 3, y, x + w / 3, y + h / 3])
        return parts

    def _mask(self, box: np.ndarray) -> dict:
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        (x1, y1), (x2, y2) = box[:2].astype(int).clip(0), (box[:2] + box[2:]).astype(int).clip(0)
        mask[y1:y2, x1:x2] = 1
        if self.rng.random() < 0.3:
            mask &= self.rng.random(mask.shape) > 0.3
        return pycocotools.mask.encode(np.asfortranarray(mask))

    def _add_keypoints(self, annotation: dict, box: np.ndarray) -> None:
        rng, count = self.rng, self.num_keypoints
        visible = rng.choice([0, 1, 2], count) * (rng.random() >= self.unlabeled)
        points = box[:2] + rng.random((count, 2)) * box[2:]
        triples = np.column_stack([points.round(1) * (visible > 0)[:, None], visible])
        annotation["keypoints"] = triples.ravel().tolist()
        annotation["num_keypoints"] = int((visible > 0).sum())

    def _detected_keypoints(self, near: dict | None, box: np.ndarray) -> list[float]:
        rng, count = self.rng, self.num_keypoints
        points = box[:2] + rng.random((count, 2)) * box[2:]
        if near is not None:
            points = np.array(near["keypoints"]).reshape(count, 3)[:, :2]
            if rng.random() < 0.7:
                points = points + rng.normal(0, rng.choice([0.5, 2, 8]), (count, 2))
        if rng.random() < 0.1:
            points = np.tile(points[:1], (count, 1))  # no area
        return np.column_stack([points, rng.random(count)]).ravel().tolist()


def _runs(mask: dict) -> dict:
    """The uncompressed RLE of a compressed one."""
    flat = pycocotools.mask.decode(mask).ravel(order="F")
    borders = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *borders, flat.size]).tolist()
    return dict(size=[HEIGHT, WIDTH], counts=[0, *runs] if flat[0] else runs)

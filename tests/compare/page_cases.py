"""A page's content with known detections, and what is to be seen of it, computed here."""

from __future__ import annotations

import base64

import cv2
import numpy as np
from pycocotools import mask as mask_api

WIDTH, HEIGHT = 200, 120
LIMBS = [[0, 1, "#ff8000", "#ff8000"], [1, 2, "#00aaff", "#00aaff"]]


def picture(seed: int) -> str:
    pixels = np.random.default_rng(seed).integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), np.uint8)
    image = cv2.resize(pixels, (WIDTH, HEIGHT))
    return "data:image/png;base64," + base64.b64encode(cv2.imencode(".png", image)[1]).decode()


def detection(label: int, box: list[float], score: float | None = None, **more) -> dict:
    x1, y1, x2, y2 = box
    entry = dict(label=label, box=box, mask=[[x1, y1, x2, y1, x2, y2, x1, y2]], **more)
    return entry if score is None else dict(entry, score=score)


def make_content(
    models: int = 2, images: int = 2, count: int = 12, truth: bool = True, seed: int = 0
) -> dict:
    """Random boxes near common places, so that some of them match."""
    rng = np.random.default_rng(seed)
    names = ["disc", "box", "ring"]

    def some(places: np.ndarray, with_scores: bool) -> list[dict]:
        entries = []
        for place in places:
            x1, y1, w, h = place[:4] + rng.normal(0, 3, 4)
            box = [round(float(v), 1) for v in (x1, y1, x1 + max(w, 4), y1 + max(h, 4))]
            score = round(float(rng.uniform(0.05, 1)), 4) if with_scores else None
            entry = detection(int(place[4]), box, score)
            if place[4] == 2:
                points = rng.uniform((x1, y1), (x1 + 20, y1 + 20), (3, 2)).round(1).tolist()
                entry["keypoints"] = [[x, y, 2] for x, y in points]
            entries.append(entry)
        return sorted(entries, key=lambda d: -d.get("score", 0))

    pictures = []
    for number in range(images):
        corners = rng.uniform(0, (WIDTH - 50, HEIGHT - 40), (count, 2))
        places = np.hstack(
            [corners, rng.uniform(15, 45, (count, 2)), np.arange(count)[:, None] % 3]
        )
        pictures.append(
            dict(
                name=f"photo {number}.png", width=WIDTH, height=HEIGHT, source=picture(number),
                truth=some(places, False) if truth else None,
                results=[dict(milliseconds=20.0 + m, detections=some(places, True))
                         for m in range(models)],
            )
        )  # fmt: skip
    return dict(
        title="Side by side: " + ", ".join(f"model {m}" for m in range(models)),
        notes=[],
        classes=[dict(name=n, color=c) for n, c in zip(names, ("#e6503c", "#3c8ce6", "#fabe28"),
                                                        strict=True)],
        models=[
            dict(name=f"model {m}", config=f"configs/m{m}.py", weights=f"work_dirs/m{m}/epoch.pth",
                 classes=[0, 1, 2], parameters=4_100_000 + m, operations=22_000_000_000,
                 milliseconds=20.0 + m, scores=dict(box=50.0 + m), scores_from=None,
                 skeleton=dict(limbs=LIMBS, colors=["#ff8000", "#3cc83c", "#00aaff"]))
            for m in range(models)
        ],
        measured=dict(device="cpu", operations="1280 × 800", ann="val.json", ann_images=images),
        truth=dict(name="Ground truth") if truth else None,
        images=pictures,
        unreadable=[],
    )  # fmt: skip


def above(detections: list[dict], threshold: float) -> list[dict]:
    return [d for d in detections if d.get("score", 1) >= threshold]


def count_alone(here: list[dict], there: list[dict], least: float) -> tuple[int, int, int]:
    """Detections on this side alone, on the other alone, in common: by pycocotools' IoU."""
    boxes = [
        np.array([[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in (d["box"] for d in side)])
        for side in (here, there)
    ]
    overlaps = np.array(mask_api.iou(*boxes, [0] * len(there)))
    same = np.equal.outer([d["label"] for d in here], [d["label"] for d in there])
    overlaps = np.where(same, overlaps, 0)
    common = 0
    while overlaps.size and overlaps.max() >= least:
        i, j = np.unravel_index(overlaps.argmax(), overlaps.shape)
        overlaps[i], overlaps[:, j] = 0, 0
        common += 1
    return len(here) - common, len(there) - common, common

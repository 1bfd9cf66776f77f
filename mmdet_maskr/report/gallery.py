"""The pictures of a report: examples, the worst images, labels that may be wrong."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmdet_maskr.deploy.images import read_image
from mmdet_maskr.evaluation.backends import EvaluationInput
from mmdet_maskr.inference.walk import Unreadable
from mmdet_maskr.report.pictures import Album
from mmdet_maskr.report.quality import ImageErrors, Quality, Suspicion
from mmdet_maskr.visualization.draw import shown
from mmdet_maskr.visualization.panels import Panel, draw_panels
from mmdet_maskr.visualization.pictures import panels_of

CONTEXT = 1.0  # around an object, in its sides, on each side of it
LEAST_CROP = 64  # pixels


def drawable_records(compared: Mapping[str, EvaluationInput]) -> dict[Any, list[dict]]:
    """By image id the detections as COCO's results, with all that there is of each."""
    kind = "segm" if "segm" in compared else next(iter(compared))
    records = compared[kind].found.to_coco()
    if "keypoints" in compared and kind != "keypoints":
        points: dict[tuple, deque] = defaultdict(deque)
        for record in compared["keypoints"].found.to_coco():
            points[_key(record)].append(record["keypoints"])
        for record in records:
            waiting = points[_key(record)]
            if waiting:
                record["keypoints"] = waiting.popleft()
    by_image: dict[Any, list[dict]] = defaultdict(list)
    for record in records:
        by_image[record["image_id"]].append(record)
    return by_image


def _key(record: Mapping) -> tuple:
    return record["image_id"], record["category_id"], record["score"]


class Gallery:
    """Draws images of one dataset.

    Args:
        quality: at whose thresholds detections are drawn.
        truth: the annotation file.
        records: of :func:`drawable_records`.
        paths: of the images, by id.
        meta: of the dataset.
        album: takes the pictures.
    """

    def __init__(
        self,
        quality: Quality,
        truth: Any,
        records: Mapping[Any, list[dict]],
        paths: Mapping[Any, str],
        meta: Mapping,
        album: Album,
    ) -> None:
        self.quality, self.truth, self.records = quality, truth, records
        self.paths, self.album = paths, album
        names = [category["name"] for category in truth.cats.values()]
        known = dict(zip(meta["classes"], _palette(meta), strict=True))
        palette = [known.get(name) for name in names]
        chosen = all(color is not None for color in palette) and len(names) > 1
        self.meta = {**meta, "classes": names, "palette": palette if chosen else None}
        self.least = quality.thresholds()

    def worst(self, errors: Sequence[ImageErrors]) -> list[dict]:
        """Images next to their ground truth, as entries for the page."""
        entries = []
        for error in errors:
            image = self._read(error.image_id)
            if image is None:
                continue
            panels = self._panels(error.image_id)
            name = self._name(error.image_id)
            text = f"{error.missed} missed, {error.wrong} wrong, {error.right} right"
            picture = draw_panels(image, panels, self.meta)
            entries.append(
                dict(
                    picture=self.album.add(picture),
                    title=name,
                    text=text,
                    alt=f"{name}: ground truth on the left, prediction on the right; {text}",
                )
            )
        return entries

    def suspicious(self, suspicions: Sequence[Suspicion]) -> list[dict]:
        """Cut-outs around objects, as entries for the page."""
        entries = []
        for one in suspicions:
            image = self._read(one.image_id)
            if image is None:
                continue
            annotations = [
                a for a in self.truth.imgToAnns[one.image_id] if a["id"] == one.annotation
            ]
            row = one.detection
            records = []
            if row >= 0:
                category = self.quality.matching.categories[row].item()
                records = [
                    r for r in self.records[one.image_id]
                    if r["category_id"] == category and abs(r["score"] - one.score) < 1e-9
                ][:1]  # fmt: skip
            panel = self._single(annotations, records, one.image_id)
            text = {
                "unlabeled": f"found {one.found} {one.score:.2f}, not labeled",
                "never found": f"labeled {one.labeled}, never found",
                "class": f"labeled {one.labeled}, found {one.found} {one.score:.2f}",
            }[one.kind]
            name = self._name(one.image_id)
            cut, panel = _cut(image, panel)
            entries.append(
                dict(
                    kind=one.kind,
                    picture=self.album.add(draw_panels(cut, [panel], self.meta, with_legend=False)),
                    title=name,
                    text=text,
                    alt=f"{name}: {text}",
                )
            )
        return entries

    def _panels(self, image_id: Any) -> list[Panel]:
        kept = [r for r in self.records[image_id] if r["score"] >= self.least[r["category_id"]]]
        with_masks = any(record.get("segmentation") for record in kept)
        return panels_of(self.truth, image_id, kept, self.meta, with_masks)

    def _single(self, annotations: list[dict], records: list[dict], image_id: Any) -> Panel:
        """The detection, or else the annotation, without letters."""
        with_masks = any(record.get("segmentation") for record in records)
        left, right = panels_of(self.truth, image_id, records, self.meta, with_masks)
        if records:
            panel = right
        else:
            place = [a["id"] for a in self.truth.imgToAnns[image_id]].index(annotations[0]["id"])
            panel = left
            panel.boxes = panel.boxes[place : place + 1]
            panel.colors = panel.colors[place : place + 1]
            panel.names = panel.names[place : place + 1]
            panel.masks = None if panel.masks is None else panel.masks[place : place + 1]
            if panel.keypoints is not None:
                panel.keypoints = panel.keypoints[place : place + 1]
        panel.title = ""
        return panel

    def _read(self, image_id: Any) -> np.ndarray | None:
        try:
            return shown(read_image(self.paths[image_id]))
        except (KeyError, Unreadable):
            return None

    def _name(self, image_id: Any) -> str:
        return str(self.truth.imgs[image_id]["file_name"])


def _palette(meta: Mapping) -> Sequence:
    """A color for each class, None where the metainfo has none."""
    palette = meta.get("palette")
    given = [] if palette is None or isinstance(palette, str) else list(palette)
    missing = len(meta["classes"]) - len(given)
    return [*given[: len(meta["classes"])], *[None] * missing]


def _cut(image: np.ndarray, panel: Panel) -> tuple[np.ndarray, Panel]:
    """An image (H, W, 3) and a panel of one object around that object."""
    x1, y1, x2, y2 = panel.boxes[0]
    margin = np.maximum(CONTEXT * np.array([x2 - x1, y2 - y1]), LEAST_CROP / 2)
    low = np.maximum(np.floor(np.array([x1, y1]) - margin), 0).astype(int)
    high = np.minimum(np.ceil(np.array([x2, y2]) + margin), image.shape[1::-1]).astype(int)
    part = slice(low[1], high[1]), slice(low[0], high[0])
    panel.boxes = panel.boxes - [*low, *low]
    panel.texts = type(panel.texts)([""], [""])
    if panel.masks is not None:
        panel.masks = [np.ascontiguousarray(mask[part]) for mask in panel.masks]
    if panel.keypoints is not None:
        panel.keypoints = panel.keypoints - [*low, 0] * (panel.keypoints[..., 2:] > 0)
    return np.ascontiguousarray(image[part]), panel

"""Models run on images one after another, and what they found as the content of a page."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch

from mmdet_maskr.catalogue.complexity import IMAGE
from mmdet_maskr.coco.form import annotated_keypoints, boxes_of
from mmdet_maskr.compare.models import ComparedModel
from mmdet_maskr.compare.outlines import outlines, polygon_rings
from mmdet_maskr.compare.photos import as_data_uri
from mmdet_maskr.compare.truth import Truth
from mmdet_maskr.deploy.images import read_image
from mmdet_maskr.errors import UserError
from mmdet_maskr.visualization.colors import class_colors, colored_by_instance, instance_colors
from mmdet_maskr.visualization.skeleton import (
    KEYPOINT_THR,
    Color,
    Skeleton,
    make_skeleton,
    with_visibility,
)

LEAST_SCORE = 0.05  # detections below it are not on the page; AP counts them
MOST_DETECTIONS = 100  # on an image of the page, the best ones

Progress = Callable[[int, int], None]
Colored = tuple[np.ndarray, list[Color]]  # boxes (N, 4) and a color for each


class Comparison:
    """Models that are shown side by side. ::

        comparison = Comparison(load_models(read_sources(['A.py:a.pth', 'B.py:b.pth'])))
        Path('compare.html').write_text(render(comparison.run(find_images(['photos']))))

    Classes are the same where their names are; each has one color on the whole page, that of the
    first model that has it.

    Args:
        models: from :func:`.load_models`.
        truth: annotations to show and to score with.

    Raises:
        UserError: there are no models.
    """

    def __init__(self, models: Sequence[ComparedModel], truth: Truth | None = None) -> None:
        if not models:
            raise UserError("--models has no models.")
        self.models = list(models)
        self.truth = truth
        self._warm = False
        self._colors: dict[str, Color] = {}
        for model in models:
            for name, color in zip(model.meta["classes"], model.colors, strict=True):
                self._colors.setdefault(name, color)
        if truth is not None:
            names = list(truth.names.values())
            for name, color in zip(names, class_colors(None, len(names)), strict=True):
                self._colors.setdefault(name, color)
        self._numbers = {name: number for number, name in enumerate(self._colors)}

    def run(self, paths: Sequence[Path], progress: Progress = lambda done, total: None) -> dict:
        """Run the models on images.

        Args:
            paths: of the images; one that cannot be read is noted in the result.
            progress: called after each image.

        Returns:
            The content of the page, as :func:`.render` takes it; ``unreadable`` lists the images
            that were left out.

        Raises:
            UserError: no image can be read.
        """
        if not paths:
            raise UserError("--images: there are no images.")
        images: list[dict] = []
        unreadable: list[str] = []
        ids: list[int | None] = []  # in the annotation file
        results: list[dict[int, dict]] = [{} for _ in self.models]
        for done, path in enumerate(paths, start=1):
            try:
                image = read_image(path)
            except UserError:
                unreadable.append(str(path))
            else:
                ids.append(None if self.truth is None else self.truth.image_id(path))
                images.append(self._run_image(path, image, ids[-1], results))
            progress(done, len(paths))
        if not images:
            raise UserError(f"none of the {len(paths)} images can be read: {unreadable[0]} ...")
        return dict(
            title="Side by side: " + ", ".join(model.source.name for model in self.models),
            notes=self._notes(images, unreadable),
            classes=[dict(name=name, color=_hex(color)) for name, color in self._colors.items()],
            models=[
                self._describe(
                    model, [image["results"][i]["milliseconds"] for image in images], results[i]
                )
                for i, model in enumerate(self.models)
            ],
            by_instance=self._by_instance(),
            measured=self._measured(sum(i is not None for i in ids)),
            truth=None if self.truth is None else dict(name="Ground truth"),
            images=images,
            unreadable=unreadable,
        )

    def _run_image(
        self, path: Path, image: np.ndarray, image_id: int | None, results: list[dict]
    ) -> dict:
        truth = None
        known = None  # boxes and colors of the panel on the left
        if self.truth is not None and image_id is not None:
            truth = self._annotations(self.truth, image_id, image.shape[:2])
            known = self._give_colors(truth, known)
        entry = dict(
            name=path.name,
            width=image.shape[1],
            height=image.shape[0],
            source=as_data_uri(image),
            truth=truth,
            results=[],
        )
        for model, kept in zip(self.models, results, strict=True):
            if not self._warm:  # the first call allocates and chooses kernels
                self._detect(model, path)
            started = time.perf_counter()
            found = self._detect(model, path)
            milliseconds = 1000 * (time.perf_counter() - started)
            detections = [self._entry(model, found, i) for i in _shown(found["scores"])]
            known = self._give_colors(detections, known)
            entry["results"].append(
                dict(milliseconds=round(milliseconds, 1), detections=detections)
            )
            if image_id is not None:
                kept[image_id] = found
        self._warm = True
        return entry

    def _by_instance(self) -> bool:
        """Whether colors are those of instances: there is one class, whose color nobody chose."""
        palettes = [model.meta.get("palette") for model in self.models]
        return len(self._colors) == 1 and all(colored_by_instance(p, 1) for p in palettes)

    @staticmethod
    def _detect(model: ComparedModel, path: Path) -> dict:
        return model.inferencer(str(path), no_save_vis=True)["predictions"][0]

    def _give_colors(self, entries: list[dict], known: Colored | None) -> Colored | None:
        """Give instances colors of their own where classes do not tell, the same ones as ``known``;
        returns those that the next panel takes up."""
        if not self._by_instance():
            return None
        boxes = np.array([entry["box"] for entry in entries], float).reshape(-1, 4)
        colors = instance_colors(boxes, known)
        for entry, color in zip(entries, colors, strict=True):
            entry["color"] = _hex(color)
        return (boxes, colors) if known is None else known

    def _entry(self, model: ComparedModel, found: dict, index: int) -> dict:
        name = model.meta["classes"][found["labels"][index]]
        entry = dict(
            label=self._numbers[name],
            score=round(found["scores"][index], 4),
            box=[round(value, 1) for value in found["bboxes"][index]],
        )
        if "masks" in found:
            entry["mask"] = outlines(found["masks"][index])
        if found.get("keypoints") and found["keypoints"][index]:
            values = found["keypoint_scores"][index]
            points = with_visibility(np.array(found["keypoints"][index]), values, KEYPOINT_THR)
            entry["keypoints"] = points.round(1).tolist()
        return entry

    def _annotations(self, truth: Truth, image_id: int, size: tuple[int, int]) -> list[dict]:
        entries = []
        for annotation in truth.annotations(image_id):
            entry = dict(
                label=self._numbers[truth.names[annotation["category_id"]]],
                box=boxes_of([annotation])[0].round(1).tolist(),
            )
            if annotation.get("segmentation"):
                entry["mask"] = polygon_rings(annotation["segmentation"], size)
            if any(annotation.get("keypoints", ())):
                points = np.reshape(annotation["keypoints"], (-1, 3))
                entry["keypoints"] = annotated_keypoints(points).tolist()
            if annotation["iscrowd"]:
                entry["crowd"] = True
            entries.append(entry)
        return entries

    def _describe(self, model: ComparedModel, times: list[float], results: dict[int, dict]) -> dict:
        entry = dict(
            name=model.source.name,
            config=model.source.config,
            weights=model.source.weights,
            classes=[self._numbers[name] for name in model.meta["classes"]],
            parameters=model.parameters,
            operations=model.operations,
            milliseconds=round(median(times), 1),
            scores={},
            scores_from=None,
            skeleton=_skeleton(model.meta),
        )
        if self.truth is not None and results:
            entry["scores"] = {
                name: None if value < 0 else round(100 * value, 1)
                for name, value in self.truth.score(results, model.meta).items()
            }
        elif model.published is not None:
            kinds = {f"{kind} AP": kind for kind in ("box", "mask", "keypoint")}
            entry["scores"] = {
                kinds[name]: score
                for name, score in model.published.scores.items()
                if name in kinds
            }
            if entry["scores"]:
                entry["scores_from"] = f"{model.published.source}, {model.published.row}"
        return entry

    def _measured(self, with_truth: int) -> dict:
        """What the numbers in the table were measured on."""
        device = next(self.models[0].inferencer.model.parameters()).device
        if device.type == "cuda":
            where = torch.cuda.get_device_name(device)
        else:
            threads = torch.get_num_threads()
            plural = "thread" if threads == 1 else "threads"
            where = f"{device.type} ({platform.machine()}, {threads} {plural})"
        return dict(
            device=where,
            operations=f"{IMAGE[1]} × {IMAGE[0]}",
            ann=None if self.truth is None else self.truth.path.name,
            ann_images=with_truth,
        )

    def _notes(self, images: list[dict], unreadable: list[str]) -> list[str]:
        notes = [f"{path} could not be read and was left out." for path in unreadable]
        every = {name for model in self.models for name in model.meta["classes"]}
        for model in self.models:
            own = set(model.meta["classes"])
            if own != every:
                lacking = [name for name in self._colors if name in every - own]
                notes.append(
                    f"{model.source.name} does not know {len(lacking)} of the other models' "
                    f"classes: {', '.join(lacking[:8])}{', ...' if len(lacking) > 8 else ''}. "
                    "Classes are compared by name."
                )
        for model in self.models:
            if model.operations is None:
                notes.append(f"GFLOPs are not counted for the parts of {model.source.name}.")
        missing = [image["name"] for image in images if image["truth"] is None]
        if self.truth is not None and missing:
            notes.append(f"{self.truth.path.name} does not list {', '.join(missing[:8])}.")
        return notes


def _shown(scores: list[float]) -> list[int]:
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    return [i for i in order if scores[i] >= LEAST_SCORE][:MOST_DETECTIONS]


def _skeleton(meta: dict) -> dict | None:
    if not meta.get("keypoints"):
        return None
    skeleton: Skeleton = make_skeleton(meta, len(meta["keypoints"]))
    return dict(
        limbs=[
            [limb.start, limb.end, *(_hex(color) for color in limb.colors)]
            for limb in skeleton.limbs
        ],
        colors=[_hex(color) for color in skeleton.colors],
    )


def _hex(color: Color) -> str:
    return "#{:02x}{:02x}{:02x}".format(*(int(value) for value in color))

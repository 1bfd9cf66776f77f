"""Ground truth of a comparison: which annotations belong to an image, and AP against them."""

from __future__ import annotations

import contextlib
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mmdet_maskr.coco.detections import Detections
from mmdet_maskr.coco.keypoint_meta import check_keypoint_meta
from mmdet_maskr.errors import UserError
from mmdet_maskr.evaluation import backends, scores
from mmdet_maskr.evaluation.ground_truth import (
    GroundTruthFile,
    keypoint_truth,
    mask_truth,
    number_annotations,
)
from mmdet_maskr.evaluation.metric_options import KEYPOINT_MAX_DETS

THRESHOLDS = np.linspace(0.5, 0.95, 10)
MAX_DETS = (1, 10, 100)


class Truth:
    """A COCO annotation file, looked up by the paths of images.

    Args:
        path: of the file.

    Raises:
        UserError: no such file, or none of COCO's form.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise UserError(f"--ann: there is no annotation file {self.path.absolute()}.")
        with contextlib.redirect_stdout(io.StringIO()):  # COCO prints what it does
            self.coco = GroundTruthFile(str(path))
        number_annotations(self.coco)
        self.names = {c["id"]: c["name"] for c in self.coco.dataset["categories"]}
        self._by_name = defaultdict(list)
        for entry in self.coco.dataset["images"]:
            self._by_name[Path(entry["file_name"]).name].append(entry)

    def image_id(self, path: Path) -> int | None:
        """The id of an image in the file, None where it is not in it.

        It is found by its name; where several have it, by the folders before it.
        """
        entries = self._by_name.get(path.name, [])
        if len(entries) > 1:
            whole = path.absolute().parts
            parts = [Path(entry["file_name"]).parts for entry in entries]
            entries = [
                e for e, p in zip(entries, parts, strict=True) if whole[len(whole) - len(p) :] == p
            ]
        return entries[0]["id"] if len(entries) == 1 else None

    def check_images(self, paths: Sequence[Path]) -> None:
        """Check that the file is about these images.

        Raises:
            UserError: it lists none of them.
        """
        if all(self.image_id(path) is None for path in paths):
            first = self.coco.dataset["images"][0]["file_name"]
            raise UserError(
                f"--ann {self.path} lists none of the {len(paths)} images. The first image "
                f"is {paths[0].name}, the first of the file is {first}."
            )

    def annotations(self, image_id: int) -> list[dict]:
        """COCO's annotations of an image."""
        return self.coco.imgToAnns[image_id]

    def score(self, results: Mapping[int, dict], meta: Mapping) -> dict[str, float]:
        """AP of boxes, masks and keypoints over some images and the classes in common.

        Args:
            results: what MaskRInferencer gives, by image id.
            meta: of the model's dataset, with ``classes`` and perhaps ``keypoints``.

        Returns:
            From 0 to 1, by 'box', 'mask' and 'keypoint'; without what the model or the file lacks,
            and -1 where nothing is there to be found.
        """
        ids = {name: category_id for category_id, name in self.names.items()}
        shared = {label: ids[n] for label, n in enumerate(meta["classes"]) if n in ids}
        if not shared:
            return {}
        kinds = {"box": "bbox"}
        if all("masks" in result for result in results.values()) and self._has_masks(shared):
            kinds["mask"] = "segm"
        recorded = {
            name: self._ap(kind, Detections.of(results.items(), shared, {kind}), results, shared)
            for name, kind in kinds.items()
        }
        if self._has_keypoints(results, meta, shared):
            recorded["keypoint"] = self._keypoint_ap(results, meta, shared)
        return recorded

    def _has_masks(self, shared: Mapping[int, int]) -> bool:
        try:
            self._mask_truth = mask_truth(self.coco, shared.values(), str(self.path))
        except UserError:  # a file of boxes
            return False
        number_annotations(self._mask_truth)
        return True

    def _has_keypoints(self, results: Mapping, meta: Mapping, shared: Mapping) -> bool:
        if "keypoint_sigmas" not in meta or not all("keypoints" in r for r in results.values()):
            return False
        counts = {
            len(annotation["keypoints"])
            for annotation in self.coco.dataset["annotations"]
            if annotation["category_id"] in shared.values() and annotation.get("keypoints")
        }
        return counts == {3 * len(meta["keypoints"])}

    def _ap(
        self, kind: str, found: Detections, results: Mapping, shared: Mapping, **options
    ) -> float:
        options.setdefault("truth", self._mask_truth if kind == "segm" else self.coco)
        options.setdefault("max_dets", MAX_DETS)
        comparison = backends.EvaluationInput(
            kind=kind,
            found=found,
            category_ids=list(shared.values()),
            image_ids=list(results),
            thresholds=THRESHOLDS,
            **options,
        )
        with contextlib.redirect_stdout(io.StringIO()):
            backend, _ = backends.choose(comparison, "auto")
            evaluation = backends.evaluate(comparison, backend)
        return scores.statistics(evaluation, ["mAP"])["mAP"]

    def _keypoint_ap(self, results: Mapping, meta: Mapping, shared: Mapping) -> float:
        check_keypoint_meta(meta)
        names = meta.get("keypoint_classes", meta["classes"])
        shared = {label: i for label, i in shared.items() if meta["classes"][label] in names}
        found = Detections.of(results.items(), shared, {"keypoints"})
        with contextlib.redirect_stdout(io.StringIO()):
            truth = keypoint_truth(self.coco, shared.values(), meta["keypoints"], str(self.path))
        return self._ap(
            "keypoints",
            found.best(KEYPOINT_MAX_DETS),
            results,
            shared,
            truth=truth,
            max_dets=(KEYPOINT_MAX_DETS,),
            sigmas=tuple(meta["keypoint_sigmas"]),
        )

"""Comparing a converted model with stored outputs of its source."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import mmcv
import numpy as np
import torch
from mmdet.models.roi_heads import CascadeRoIHead
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from mmengine.logging import print_log
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_maskr.coco.pairing import pair_up
from mmdet_maskr.errors import UserError

RELATIVE = 1e-3  # of features and logits, to their standard deviation
BOX_PIXELS = 0.05
SCORE = 1e-4
KEYPOINT_PIXELS = 0.05
# A score is the top of a softmax over a heatmap, which multiplies the rounding of its logits.
KEYPOINT_SCORE = 1e-2
MASK_PIXELS = 1e-3  # of the foreground of all masks: small ones have fewer than 1000 pixels
MATCHED = 0.97  # of the detections


class OutputDifference(NamedTuple):
    """One line of the table: what, how far apart, what is allowed, and the unit."""

    name: str
    difference: float
    limit: float
    unit: str

    @property
    def passed(self) -> bool:
        """Whether the difference is within the limit."""
        return self.difference <= self.limit


class Reference(NamedTuple):
    """Stored outputs, and the image that they are of.

    Args:
        arrays: of the ``.npz`` file, by name.
        image: (H, W, 3) BGR of the network's size.
    """

    arrays: Mapping[str, np.ndarray]
    image: np.ndarray


def load_reference(path: str | Path, image: str | Path | None = None) -> Reference:
    """Stored outputs; the image lies next to them as ``image.png`` where no other is named.

    Raises:
        UserError: a file that is not there, or is no ``.npz`` with ``boxes`` and ``det_boxes``.
    """
    path = Path(path)
    image_path = Path(image) if image is not None else path.with_name("image.png")
    for needed in (path, image_path):
        if not needed.is_file():
            raise UserError(f"there is no {needed}, which the comparison needs.")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    lacking = {"boxes", "det_boxes", "det_scores", "det_labels"} - set(arrays)
    if lacking:
        raise UserError(f"{path} has no {', '.join(sorted(lacking))}.")
    return Reference(arrays, mmcv.imread(image_path, backend="pillow"))


class ReferenceCheck:
    """A converted model's outputs compared with its source's.

    Args:
        model: in evaluation mode.
        reference: of the source.
        source_labels: for each class of the model its index in the source's logits.
        source_background: index of the background in the source's class logits.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        reference: Reference,
        source_labels: Sequence[int],
        source_background: int,
    ) -> None:
        self.model = model
        self.arrays = reference.arrays
        self.image = reference.image
        self.labels = np.array(source_labels)
        self.background = source_background

    @torch.no_grad()
    def rows(self) -> list[OutputDifference]:
        """The table."""
        height, width = self.image.shape[:2]
        meta = dict(img_shape=(height, width), ori_shape=(height, width), scale_factor=(1.0, 1.0))
        sample = DetDataSample(metainfo=meta)
        tensor = torch.from_numpy(np.ascontiguousarray(self.image.transpose(2, 0, 1)))
        batch = self.model.data_preprocessor(dict(inputs=[tensor], data_samples=[sample]))
        features = self.model.extract_feat(batch["inputs"])
        rows = self._maps(features) + self._rpn(features) + self._heads(features)
        detections = self.model.predict(batch["inputs"], batch["data_samples"])
        return rows + self._detections(detections[0].pred_instances)

    def _stored(self, prefix: str) -> list[np.ndarray]:
        return [array for name, array in self.arrays.items() if name.startswith(prefix)]

    def _maps(self, features: Sequence[Tensor]) -> list[OutputDifference]:
        stored = self._stored("feature_")
        return [_relative("feature maps", features, stored)] if stored else []

    def _rpn(self, features: Sequence[Tensor]) -> list[OutputDifference]:
        logits, deltas = self.model.rpn_head(features)
        rows = []
        for name, values, prefix in (
            ("RPN logits", logits, "rpn_objectness_"),
            ("RPN deltas", deltas, "rpn_deltas_"),
        ):
            stored = self._stored(prefix)
            if stored:
                rows.append(_relative(name, values, stored))
        return rows

    def _heads(self, features: Sequence[Tensor]) -> list[OutputDifference]:
        """Logits of the given boxes, class by class; none of a cascade, which has many of each."""
        head = self.model.roi_head
        if isinstance(head, CascadeRoIHead):
            print_log("logits of a cascade's stages are not compared, only its detections.")
            return []
        rois = bbox2roi([torch.from_numpy(self.arrays["boxes"])])
        results = head._bbox_forward(features, rois)
        scores, deltas = results["cls_score"], results["bbox_pred"]
        count = len(self.labels)
        rows = []
        if "cls_logits" in self.arrays:
            stored = self.arrays["cls_logits"]
            wanted = stored[:, [*self.labels.tolist(), self.background]]
            rows.append(_relative("class logits", [scores[:, : count + 1]], [wanted]))
        if "box_deltas" in self.arrays:
            stored = self.arrays["box_deltas"].reshape(len(rois), -1, 4)
            if stored.shape[1] > 1:
                stored = stored[:, self.labels]
            rows.append(_relative("box deltas", [deltas.view(len(rois), -1, 4)], [stored]))
        if "mask_logits" in self.arrays and head.with_mask:
            stored = self.arrays["mask_logits"]
            masks = head._mask_forward(features, rois)["mask_preds"]
            if stored.shape[1] > 1:
                stored = stored[:, self.labels]
            rows.append(_relative("mask logits", [masks], [stored]))
        if "keypoint_logits" in self.arrays and getattr(head, "with_keypoint", False):
            logits = head.keypoint_forward(features, rois)
            rows.append(_relative("keypoint logits", [logits], [self.arrays["keypoint_logits"]]))
        return rows

    def _stored_detections(self) -> dict[str, np.ndarray]:
        """The stored detections of classes that the model here has, without ``det_``."""
        stored = {name[4:]: value for name, value in self.arrays.items() if name[:4] == "det_"}
        if "masks_packed" in stored:
            shape = tuple(stored.pop("masks_shape"))
            packed = stored.pop("masks_packed")
            stored["masks"] = np.unpackbits(packed, count=int(np.prod(shape))).reshape(shape)
        known = np.isin(stored["labels"], self.labels)
        return {name: value[known] for name, value in stored.items()}

    def _detections(self, found: InstanceData) -> list[OutputDifference]:
        """Each stored detection with the nearest of its class here."""
        stored = self._stored_detections()
        labels = self.labels[found.labels.numpy()]
        pairs = match_detections(
            (stored["boxes"], stored["scores"], stored["labels"]),
            (found.bboxes.numpy(), found.scores.numpy(), labels),
        )
        total = len(stored["boxes"])
        missing = OutputDifference(
            "detections not found", total - len(pairs), total * (1 - MATCHED), f"of {total}"
        )
        rows = [missing]
        if not len(pairs):
            return rows
        theirs, ours = pairs.T
        gap = np.abs(stored["boxes"][theirs] - found.bboxes.numpy()[ours]).max()
        rows.append(OutputDifference("boxes", float(gap), BOX_PIXELS, "px"))
        gap = np.abs(stored["scores"][theirs] - found.scores.numpy()[ours]).max()
        rows.append(OutputDifference("scores", float(gap), SCORE, ""))
        if "masks" in stored and "masks" in found:
            rows.append(_masks(stored["masks"][theirs], found.masks, ours))
        if "keypoints" in stored and "keypoints" in found:
            points = found.keypoints.numpy()[ours, :, :2]
            gap = np.abs(stored["keypoints"][theirs, :, :2] - points).max()
            rows.append(OutputDifference("keypoints", float(gap), KEYPOINT_PIXELS, "px"))
            scores = stored.get("keypoint_scores", stored["keypoints"][..., 2])[theirs]
            here = [found.keypoint_scores[ours]]
            rows.append(_relative("keypoint scores", here, [scores], KEYPOINT_SCORE))
        return rows


def _masks(stored: np.ndarray, masks: Any, ours: np.ndarray) -> OutputDifference:
    """Pixels that differ, as a share of the stored masks' foreground."""
    here = masks.numpy().astype(bool)[ours]
    stored = stored.astype(bool)
    share = (stored != here).sum() / max(stored.sum(), 1)
    return OutputDifference("mask pixels", float(share), MASK_PIXELS, "of the foreground")


def match_detections(
    theirs: tuple[np.ndarray, np.ndarray, np.ndarray],
    ours: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> np.ndarray:
    """(P, 2) pairs of detections of one class, each used once, that agree within the limits.

    Args:
        theirs: boxes (N, 4), scores (N,), labels (N,).
        ours: the same, of M detections.
    """
    box_gap = np.abs(theirs[0][:, None] - ours[0][None]).max(-1)
    score_gap = np.abs(np.subtract.outer(theirs[1], ours[1]))
    same = np.equal.outer(theirs[2], ours[2])
    good = same & (box_gap <= BOX_PIXELS) & (score_gap <= SCORE)
    return pair_up(np.argwhere(good), -box_gap[good])


def _relative(
    name: str, values: Sequence[Tensor], stored: Sequence[np.ndarray], limit: float = RELATIVE
) -> OutputDifference:
    """Largest difference, in standard deviations of the stored values of its level."""
    shapes = [tuple(v.shape) for v in values], [s.shape for s in stored]
    if shapes[0] != shapes[1]:
        raise UserError(f"{name} are {shapes[0]} here and {shapes[1]} in the stored outputs.")
    worst = max(
        float(np.abs(v.numpy() - s).max() / s.std()) for v, s in zip(values, stored, strict=True)
    )
    return OutputDifference(name, worst, limit, "of their deviation")


def table(rows: Sequence[OutputDifference], write: Callable[[str], None] = print) -> bool:
    """Print the rows; whether all of them are within their limits."""
    write(f"{'':22}{'largest difference':>20}{'allowed':>12}")
    for row in rows:
        mark = "" if row.passed else "   TOO FAR"
        difference, limit = f"{row.difference:.2g}", f"{row.limit:.2g}"
        write(f"{row.name:22}{difference:>20}{limit:>12}  {row.unit}{mark}")
    return all(row.passed for row in rows)

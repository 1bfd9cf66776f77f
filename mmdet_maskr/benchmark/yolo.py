"""YOLO-seg models in ONNX, from an image file to masks at its size; a contender of ``live``.

What is around the graph is written here, in NumPy and OpenCV, and does the least that gives boxes
and masks. ``ultralytics``, whose license is the AGPL, is no dependency: where it is installed, a
process of its own exports models with random weights, and nothing of it is loaded here.

Symbols: K classes, A places of the graph, D detections, p side of the prototypes, S of the input.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mmdet_maskr.deploy import backends
from mmdet_maskr.deploy.images import read_image
from mmdet_maskr.errors import UserError

NMS_IOU = 0.7  # as ultralytics' predict has it
PROTOTYPES = 32
GRAY = 114  # of what is added to make an image square
# Nodes that decode boxes and scores: in the 8-bit graph they stay in float32, as ultralytics' do.
HEAD = (r"/model\.\d+/(Add|Sub|Mul|Div|Sigmoid)(_\d+)?", r"/model\.\d+/dfl/.*")
SECONDS = 280  # that an export may take
MOST_CANDIDATES = 50  # of an object, before NMS; a trained model has some ten
# With random weights alone the scores of all places are alike: the statistics of batch
# normalization become those of an image.
_EXPORT = """
import sys
import numpy, torch
from ultralytics import YOLO

name, size, image = sys.argv[1:]
torch.manual_seed(0)
model = YOLO(name + ".yaml")
norms = [m for m in model.model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
momenta = [norm.momentum for norm in norms]
for norm in norms:
    norm.momentum = 1.0
with torch.no_grad():
    model.model.train()(torch.from_numpy(numpy.load(image)))
for norm, momentum in zip(norms, momenta):
    norm.momentum = momentum
model.model.eval()
model.export(format="onnx", imgsz=int(size), simplify=False, opset=17)
"""


def why_not() -> str | None:
    """Why no model can be exported here; None where one can."""
    if importlib.util.find_spec("ultralytics") is None:
        return (
            "ultralytics is not installed (AGPL, and so no dependency): install it in an "
            "environment of its own, or give exported files, --yolo FILE.onnx"
        )
    return None


def export_random(name: str, size: int, image: np.ndarray, folder: Path) -> Path:
    """Export a model by its name, as 'yolo11n-seg', with random weights to ONNX.

    Args:
        name: of the configuration in ultralytics.
        size: S, of the graph's input.
        image: (H, W, 3) in BGR, whose statistics the model gets.
        folder: where to.

    Raises:
        UserError: the export fails, with its last line.
    """
    env = {**os.environ, "YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true"}
    env["YOLO_CONFIG_DIR"] = str(folder)
    np.save(folder / "input.npy", input_of(image, size))
    command = [sys.executable, "-c", _EXPORT, name, str(size), "input.npy"]
    try:
        done = subprocess.run(
            command, cwd=folder, env=env, capture_output=True, text=True, timeout=SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{name} was not exported within {SECONDS} seconds.") from error
    path = folder / f"{name}.onnx"
    if done.returncode or not path.is_file():
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise UserError(f"ultralytics cannot export {name}: {lines[-1][:300]}")
    return path


class YoloSeg:
    """A YOLO-seg graph at work.

    Args:
        path: of the graph, with outputs (1, 4 + K + 32, A) and (1, 32, p, p).
        form: 'onnx' or 'openvino', which reads ONNX too.
        size: S, of the graph's square input.
        threads: of the library.
        objects: how many detections an image gives at most.
    """

    def __init__(self, path: Path, form: str, size: int, threads: int, objects: int) -> None:
        self._run = backends.OPENERS[form](path, "cpu", threads)
        self._size, self.objects = size, objects
        self.thresholds: dict[Path, float] = {}  # by file; 0 where it was not calibrated

    def calibrate(self, paths: Sequence[Path]) -> float:
        """Choose for each image the highest score threshold that leaves as many objects.

        Returns:
            How many candidates an object has before NMS, on average.

        Raises:
            UserError: not even 0 does; there are more than :data:`MOST_CANDIDATES`, as of scores
                that are all alike, so that NMS would be most of the work.
        """
        found = [self._candidates(self._outputs(read_image(path))[0], 0.0) for path in paths]
        passing = 0
        for path, (scores, boxes, labels, _) in zip(paths, found, strict=True):
            kept = _nms(boxes, scores, labels)
            if len(kept) < self.objects:
                raise UserError(f"YOLO finds {len(kept)} objects on {path}, not {self.objects}.")
            self.thresholds[path] = float(scores[kept[self.objects - 1]])
            passing += int((scores >= self.thresholds[path]).sum())
        candidates = passing / (self.objects * len(found))
        if candidates > MOST_CANDIDATES:
            raise UserError(
                f"{candidates:.0f} candidates an object pass YOLO's score threshold before NMS: "
                "its scores are too much alike, as those of random weights without an image's "
                "statistics."
            )
        return candidates

    def __call__(self, path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Labels (D), scores (D), boxes (D, 4) xyxy and masks (D, H, W) bool, of an image file."""
        image = read_image(path)
        predicted, prototypes = self._outputs(image)
        threshold = self.thresholds.get(path, 0.0)
        scores, boxes, labels, weights = self._candidates(predicted, threshold)
        kept = _nms(boxes, scores, labels)[: self.objects]
        scale, left, top = letterbox_of(image.shape[:2], self._size)
        height, width = image.shape[:2]
        found = (boxes[kept] - [left, top, left, top]) / scale
        found = found.clip(0, [width, height, width, height])
        side = prototypes.shape[-1]
        logits = (weights[kept] @ prototypes.reshape(PROTOTYPES, -1)).reshape(-1, side, side)
        masks = np.zeros((len(kept), height, width), bool)
        for mask, small, box in zip(masks, logits, found, strict=True):
            _paste(mask, small, box, scale * side / self._size, left * side / self._size,
                   top * side / self._size)  # fmt: skip
        return labels[kept], scores[kept], found, masks

    def _outputs(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        predicted, prototypes = self._run(input_of(image, self._size))[:2]
        return predicted[0], prototypes[0]

    def _candidates(
        self, predicted: np.ndarray, threshold: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Scores, boxes (xyxy in the input), labels and weights of the prototypes."""
        by_class = predicted[4:-PROTOTYPES]
        scores = by_class.max(0)
        kept = np.flatnonzero(scores >= threshold)
        x, y, width, height = predicted[:4, kept]
        boxes = np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], 1)
        return scores[kept], boxes, by_class[:, kept].argmax(0), predicted[-PROTOTYPES:, kept].T


def input_of(image: np.ndarray, size: int) -> np.ndarray:
    """(1, 3, S, S) float32 in RGB, 0 to 1, of an image (H, W, 3) in BGR."""
    scale, left, top = letterbox_of(image.shape[:2], size)
    height, width = (round(side * scale) for side in image.shape[:2])
    square = np.full((size, size, 3), GRAY, np.uint8)
    square[top : top + height, left : left + width] = cv2.resize(image, (width, height))
    return cv2.dnn.blobFromImage(square, 1 / 255, swapRB=True)


def letterbox_of(shape: tuple[int, ...], size: int) -> tuple[float, int, int]:
    """Scale, and columns and rows on the left and top, that make an image (H, W) a square."""
    scale = size / max(shape)
    height, width = (round(side * scale) for side in shape)
    return scale, (size - width) // 2, (size - height) // 2


def _nms(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Places of the boxes that stay, best first, each class on its own."""
    sides = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).astype(float)
    kept = cv2.dnn.NMSBoxesBatched(sides.tolist(), scores.tolist(), labels.tolist(), 0.0, NMS_IOU)
    kept = np.array(kept, int).reshape(-1)
    return kept[np.argsort(-scores[kept], kind="stable")]


def _paste(
    mask: np.ndarray, logits: np.ndarray, box: np.ndarray, scale: float, left: float, top: float
) -> None:
    """Write the pixels of the box (xyxy, of the image) whose logit is positive.

    Args:
        mask: (H, W) bool.
        logits: (p, p).
        box: xyxy in pixels of the image.
        scale: pixels of ``logits`` per pixel of the image.
        left: where the image begins in ``logits``; so does ``top``.
    """
    x1, y1 = np.floor(box[:2]).astype(int)
    x2, y2 = np.ceil(box[2:]).astype(int)
    if x1 >= x2 or y1 >= y2:
        return
    matrix = np.array(
        [[scale, 0, (x1 + 0.5) * scale + left - 0.5], [0, scale, (y1 + 0.5) * scale + top - 0.5]]
    )
    enlarged = cv2.warpAffine(
        logits, matrix, (int(x2 - x1), int(y2 - y1)),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    mask[y1:y2, x1:x2] = enlarged > 0

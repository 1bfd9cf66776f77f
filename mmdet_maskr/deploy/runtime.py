"""Exported models at work, without mmdet, mmcv and mmengine."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmdet_maskr.deploy import backends, instances
from mmdet_maskr.deploy.files import CURE, FILES, read_metadata
from mmdet_maskr.deploy.images import (
    ImageInput,
    Prepared,
    list_images,
    prepare,
    read_image,
)
from mmdet_maskr.errors import UserError
from mmdet_maskr.folders import as_path
from mmdet_maskr.inference.inputs import check_distinct

MASKS = ("rle", "bitmaps")


def load(folder: str | Path, device: str = "cpu", threads: int | None = None) -> ExportedModel:
    """Open a model that ``tools/export.py`` wrote. ::

        from mmdet_maskr.deploy import load

        model = load('out')
        person = model('photo.jpg')['predictions'][0]   # bboxes, scores, labels, masks, keypoints

    It needs numpy, OpenCV and the library of the model's format (onnxruntime,
    openvino, torch), and nothing else.

    Args:
        folder: that the tool wrote.
        device: 'cpu'; 'cuda' for ONNX Runtime and PyTorch, 'gpu' (Intel's) for OpenVINO.
        threads: None for the library's own choice.

    Raises:
        UserError: a folder without a model, a library or a device that is not there.
    """
    return ExportedModel(folder, device, threads)


class ExportedModel:
    """An exported model, called as :class:`mmdet_maskr.apis.MaskRInferencer` is; see :func:`load`.

    Attributes:
        metadata: what ``metadata.json`` says.
        classes: their names, by label.

    Raises:
        UserError: as :func:`load`.
    """

    def __init__(self, folder: str | Path, device: str = "cpu", threads: int | None = None) -> None:
        if threads is not None and (type(threads) is not int or threads < 1):
            raise UserError(f"threads must be positive, not {threads!r}.")
        if not isinstance(device, str):
            raise UserError(f"device must be a name like 'cpu', not a {type(device).__name__}.")
        folder = as_path(folder, "the folder of the exported model")
        self.metadata = read_metadata(folder)
        self.classes: list[str] = self.metadata["classes"]
        form = self.metadata["format"]
        path = folder / FILES[form]
        try:
            self._run = backends.OPENERS[form](path, device, threads)
        except (UserError, MemoryError):
            raise
        except Exception as error:  # of the libraries, of many types
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise UserError(
                f"{path} cannot be opened ({reason}): it is damaged, or of another version of the "
                f"library. {CURE}"
            ) from error
        self._done = 0
        self._lock = threading.RLock()  # libraries keep what they compute with

    def __call__(
        self,
        inputs: ImageInput | Sequence[ImageInput],
        masks: str = "rle",
        out_dir: str | Path | None = None,
    ) -> dict[str, list[dict[str, Any]]]:
        """Detect on one or several images, one at a time; threads wait for one another.

        Args:
            inputs: a path, a folder, an array (H, W, 3) in BGR as ``cv2.imread`` gives it, or a
                sequence of paths and arrays.
            masks: 'rle' (COCO's, ``counts`` as a string) or 'bitmaps' (arrays (D, H, W) of bool).
            out_dir: where ``preds/NAME.json`` is written for each image; only for RLEs. Files of
                an array have a running number, that of the image since the model was loaded.

        Returns:
            ``predictions``, for each image what MaskRInferencer gives: ``labels``, ``scores``,
            ``bboxes`` (D x [x1, y1, x2, y2] in pixels of the image), best first; ``masks`` and
            ``keypoints`` (D lists of K [x, y], empty for classes without) with
            ``keypoint_scores`` where the model has them.

        Raises:
            UserError: no such image, an empty folder, an array of another shape, an unknown
                ``masks``; two images whose files in ``out_dir`` have the same name.
        """
        if masks not in MASKS:
            raise UserError(f"masks must be one of {MASKS}, not {masks!r}.")
        if out_dir is not None and masks != "rle":
            raise UserError("out_dir writes JSON, which holds masks='rle' only.")
        with self._lock:
            return self._detect(inputs, masks, out_dir)

    def _detect(
        self,
        inputs: ImageInput | Sequence[ImageInput],
        masks: str,
        out_dir: str | Path | None,
    ) -> dict[str, list[dict[str, Any]]]:
        images = list_images(inputs)
        names = [self._name(source, i) for i, source in enumerate(images, self._done)]
        if out_dir is not None:
            check_distinct(names, "their files in out_dir would overwrite one another")
        predictions = []
        for name, source in zip(names, images, strict=True):
            steps = self.metadata["preprocessing"]
            image = prepare(read_image(source, steps.get("load")), steps["resize"])
            found = self.interpret(self.run(image.image), image, masks)
            predictions.append(found)
            if out_dir is not None:
                self._write(found, Path(out_dir) / "preds" / f"{name}.json")
            self._done += 1
        return dict(predictions=predictions)

    def run(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """The graph's outputs by name, of its input (1, 3, H, W)."""
        names, found = self.metadata["outputs"], self._run(image)
        if len(names) != len(found):
            raise UserError(
                f"the model gives {len(found)} outputs, and its metadata name {len(names)}: they "
                f"are of two exports. {CURE}"
            )
        return dict(zip(names, found, strict=True))

    def interpret(
        self, outputs: dict[str, np.ndarray], image: Prepared, masks: str = "rle"
    ) -> dict[str, Any]:
        """The predictions that the graph's outputs mean, in pixels of the image."""
        scale = np.array(image.scale, np.float32)
        boxes = outputs["boxes"] / np.tile(scale, 2)
        found: dict[str, Any] = dict(
            labels=outputs["labels"].tolist(),
            scores=outputs["scores"].tolist(),
            bboxes=boxes.tolist(),
        )
        if "masks" in outputs:
            threshold = self.metadata["masks"]["threshold"]
            crops = list(instances.crops(outputs["masks"], boxes, image.size, threshold))
            form = instances.encode if masks == "rle" else instances.dense
            found["masks"] = form(crops, image.size)
        if "heatmaps" in outputs:
            rows = outputs["heatmap_rows"]
            points, peaks, probabilities = instances.decode_keypoints(
                outputs["heatmaps"], outputs["boxes"][rows]
            )
            scores = peaks if self.metadata["keypoints"]["score"] == "logit" else probabilities
            found["keypoints"] = [[] for _ in boxes]
            found["keypoint_scores"] = [[] for _ in boxes]
            for row, point, score in zip(rows, points / scale, scores, strict=True):
                found["keypoints"][row] = point.tolist()
                found["keypoint_scores"][row] = score.tolist()
        return found

    @staticmethod
    def _name(source: ImageInput, number: int) -> str:
        """The file's without its suffix; an array has its number."""
        return f"{number:08d}" if isinstance(source, np.ndarray) else Path(source).stem

    @staticmethod
    def _write(found: dict[str, Any], path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found), encoding="utf-8")

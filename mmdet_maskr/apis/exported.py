"""An exported model behind the interface of the inferencer."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from mmdet.datasets.transforms import InferencerLoader
from mmdet.registry import TRANSFORMS
from mmdet.structures import DetDataSample
from mmengine.registry import init_default_scope

from mmdet_maskr.apis.detector import FoundSample
from mmdet_maskr.apis.inferencer import MaskRInferencer, build_visualizer
from mmdet_maskr.apis.predictions import FIELDS, of_lists
from mmdet_maskr.deploy import load
from mmdet_maskr.deploy.images import LOAD
from mmdet_maskr.errors import UserError
from mmdet_maskr.inference.walk import Counter, Image, Model


class ExportedInferencer(MaskRInferencer):
    """An exported model, called as :class:`.MaskRInferencer` is, with the same files and pictures.

    The model itself runs without PyTorch (:func:`mmdet_maskr.deploy.load`); what draws and writes
    is the inferencer's. Colors of classes are not in an exported model: they are the visualizer's.

    Args:
        folder: that ``maskr export`` wrote.
        device: 'cpu' (also for None); 'cuda' for ONNX Runtime and PyTorch, 'gpu' (Intel's) for
            OpenVINO.
        show_progress: show a progress bar.

    Raises:
        UserError: as :func:`mmdet_maskr.deploy.load`.
    """

    def __init__(
        self, folder: str | Path, device: str | None = None, show_progress: bool = True
    ) -> None:
        init_default_scope("mmdet")
        self._exported = load(folder, device or "cpu")
        self._named = str(folder)
        self.show_progress = show_progress
        self.visualizer = build_visualizer(None, self.dataset_meta)
        self._counter = Counter()
        self._lock = threading.RLock()

    @property
    def dataset_meta(self) -> dict[str, Any]:
        """Names of classes and keypoints, and the skeleton."""
        keypoints = self._exported.metadata.get("keypoints") or {}
        names = {key: value for key, value in keypoints.items() if key not in ("score", "count")}
        return dict(names, classes=tuple(self._exported.classes))

    def pred2dict(self, data_sample: DetDataSample, pred_out_dir: str | Path = "") -> dict:
        """Refused: an exported model gives no data samples of its own."""
        raise UserError("pred2dict is of models in PyTorch: an exported one gives dictionaries.")

    def _wanted(
        self,
        least: Sequence[float],
        outputs: Sequence[str] | None,
        tile: int | str | None,
        overlap: float,
        batch_size: int,
    ) -> Model:
        if batch_size != 1:
            raise UserError(
                f"batch_size={batch_size}: an exported model takes one image at a time."
            )
        model: Model = _Chosen(self._exported.as_wanted(), least, self._kept(outputs))
        if tile is not None:
            model = self._exported.tiled(model, tile, overlap, bool(self.show_progress))
        count = (self._exported.metadata.get("keypoints") or {}).get("count", 0)
        return _Drawable(model, count)

    def _kept(self, outputs: Sequence[str] | None) -> tuple[str, ...]:
        given = self._exported.metadata["outputs"]
        has = dict(boxes=True, masks="masks" in given, keypoints="heatmaps" in given)
        for name in outputs or ():
            if not has.get(name):
                raise UserError(f"outputs={outputs!r}: {self._named} gives no {name}.")
        return tuple(has) if outputs is None else tuple(outputs)

    @property
    def _channels(self) -> int:
        return self._exported.channels

    @property
    def _loader(self) -> InferencerLoader:
        options = self._exported.metadata["preprocessing"].get("load") or {}
        if "bands" in options:
            step = dict(type="mmdet.InferencerBandsLoader", channels=options["bands"])
        else:
            options = {**LOAD, **options}
            color = "color" if options["orientation"] else "color_ignore_orientation"
            step = dict(
                type="mmdet.InferencerLoader",
                color_type=color,
                imdecode_backend=options["decoder"],
                to_float32=options["float32"],
            )
        return TRANSFORMS.build(step)

    def _rle_masks(self, enabled: bool) -> AbstractContextManager:
        return nullcontext()  # it gives nothing else


class FoundLists(FoundSample):
    """Detections that are lists already, see :func:`.predictions.as_lists`.

    Args:
        lists: of D detections.
        size: (H, W) of the image.
        keypoints: K of the model.
    """

    def __init__(self, lists: dict[str, Any], size: tuple[int, int], keypoints: int) -> None:
        super().__init__(DetDataSample(pred_instances=of_lists(lists, size, keypoints)), 0)
        self.lists = lists


class _Lists(NamedTuple):
    lists: dict[str, Any]


class _Chosen(NamedTuple):
    """A model whose detections have the least scores and the outputs of a call."""

    model: Model
    least: Sequence[float]
    outputs: Sequence[str]

    def prepare(self, image: Image) -> Any:
        return self.model.prepare(image)

    def detect(self, prepared: list[Any]) -> list[_Lists]:
        return [_Lists(self._chosen(found.lists)) for found in self.model.detect(prepared)]

    def _chosen(self, lists: dict[str, Any]) -> dict[str, Any]:
        kinds = {field: name for name, fields in FIELDS.items() for field in fields}
        wanted = {"boxes", *self.outputs}
        pairs = enumerate(zip(lists["labels"], lists["scores"], strict=True))
        kept = [i for i, (label, score) in pairs if score >= self.least[label]]
        return {
            name: [values[i] for i in kept]
            for name, values in lists.items()
            if kinds.get(name, "boxes") in wanted
        }


class _Drawable(NamedTuple):
    """A model whose detections can be drawn as those of a detector are."""

    model: Model
    keypoints: int

    def prepare(self, image: Image) -> Any:
        return self.model.prepare(image)

    def detect(self, prepared: list[Any]) -> list[FoundLists]:
        found = []
        for own in self.model.detect(prepared):
            masks = own.lists.get("masks")
            height, width = masks[0]["size"] if masks else (1, 1)  # only masks have a size
            found.append(FoundLists(own.lists, (height, width), self.keypoints))
        return found

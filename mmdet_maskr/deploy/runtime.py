"""The runtime of exported models, without mmdet, mmcv and mmengine."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmdet_maskr.bands import check_range
from mmdet_maskr.deploy import backends, instances
from mmdet_maskr.deploy.files import CURE, FILES, read_metadata
from mmdet_maskr.deploy.images import Prepared, prepare, read_image
from mmdet_maskr.errors import UserError
from mmdet_maskr.folders import as_path, check_writable
from mmdet_maskr.inference.inputs import ImageInput, open_source
from mmdet_maskr.inference.overlap import depths_of
from mmdet_maskr.inference.sinks import Collected, Tally, json_sink
from mmdet_maskr.inference.tiles.grid import LEAST_TILE, OVERLAP, check_tiling
from mmdet_maskr.inference.tiles.model import TiledModel
from mmdet_maskr.inference.tiles.rasters import Raster, open_raster
from mmdet_maskr.inference.tracking import Tracks
from mmdet_maskr.inference.video import Video, film_of
from mmdet_maskr.inference.walk import Counter, Image, Model, Sink, walk

MASKS = ("rle", "bitmaps")


def load(folder: str | Path, device: str = "cpu", threads: int | None = None) -> ExportedModel:
    """Open a model that ``maskr export`` wrote. ::

        from mmdet_maskr.deploy import load

        model = load('out')
        person = model('photo.jpg')['predictions'][0]   # bboxes, scores, labels, masks, keypoints

    It needs only numpy, OpenCV and the library of the format (onnxruntime, openvino or torch).

    Args:
        folder: the folder that ``maskr export`` wrote.
        device: 'cpu'; 'cuda' for ONNX Runtime and PyTorch, 'gpu' (Intel's) for OpenVINO.
        threads: CPU threads; None for the library's choice.

    Raises:
        UserError: the folder has no model, or the library or device is not available.
    """
    return ExportedModel(folder, device, threads)


class ExportedModel:
    """An exported model with the interface of :class:`mmdet_maskr.apis.MaskRInferencer`.

    Attributes:
        metadata: content of ``metadata.json``.
        classes: class names, by label.

    Raises:
        UserError: as in :func:`load`.
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
        load = self.metadata["preprocessing"].get("load") or {}
        self._bands: int | None = load.get("bands")  # None of colors
        self._counter = Counter()
        self._lock = threading.RLock()  # libraries keep what they compute with

    def __call__(
        self,
        inputs: ImageInput | Sequence[ImageInput] | Video,
        masks: str = "rle",
        out_dir: str | Path | None = None,
        tile: int | str | None = None,
        overlap: float | None = None,
        show_progress: bool = False,
        track: bool = False,
        film: str | Path | None = None,
        score_thr: float = 0.3,
    ) -> dict[str, Any]:
        """Detect on images or the frames of a video, one at a time; threads wait for one another.

        An image of several that cannot be read is left out and reported at the end. Frames are
        read and drawn on while the model detects on others. Ctrl-C ends a video early, with files
        of what is done; a camera (:class:`.LiveFrames`) ends so.

        Args:
            inputs: what MaskRInferencer takes: a path, folder, pattern, URL, an array (H, W, 3) in
                BGR as ``cv2.imread`` gives it, (H, W, bands) of a model of bands, or a list of
                these; or the path of a video, the
                address of a stream (rtsp://...), or ``LiveFrames(0)``, a camera.
            masks: 'rle' (COCO's, ``counts`` as a string) or 'bitmaps' (arrays (D, H, W) of bool).
            out_dir: where ``preds/NAME.json`` is written for each image; only for RLEs. Files of
                an array have a running number, that of the image since the model was loaded.
            tile: detect on square tiles of so many pixels and join what is found, as RLEs; 'auto'
                takes the size that the model's images are resized to.
            overlap: of neighboring tiles, as a share of ``tile``; None for 0.2.
            show_progress: show a bar, where rich is installed.
            track: give objects of a video ids, ``track_ids``; needs the package trackers.
            film: file of a video with what was found drawn on it, .mp4 or .avi; only of RLEs, and
                with pycocotools and matplotlib.
            score_thr: detections below it are not drawn and get no ids.

        Returns:
            A dictionary with ``predictions``, for each image what MaskRInferencer gives:
            ``labels``, ``scores``, ``bboxes`` (D x [x1, y1, x2, y2] in pixels of the image), best
            first; ``masks`` and ``keypoints`` (D lists of K [x, y], empty for classes without) with
            ``keypoint_scores`` where the model has them; with ``images`` and ``failed``, and of a
            camera ``labels`` instead of predictions, as there.

        Raises:
            UserError: no such image, an empty folder, an array of another shape, an unknown
                ``masks``; two images whose files in ``out_dir`` have the same name, or a folder
                that cannot be written.
        """
        if masks not in MASKS:
            raise UserError(f"masks must be one of {MASKS}, not {masks!r}.")
        if out_dir is not None and masks != "rle":
            raise UserError("out_dir writes JSON files, which needs masks='rle'.")
        if tile is not None and masks != "rle":
            raise UserError("tile needs masks='rle'.")
        if overlap is not None and tile is None:
            raise UserError(
                "overlap has an effect only with tile: pass tile=1024, for example, or leave "
                "out overlap."
            )
        model = self.as_wanted(masks)
        if tile is not None:
            model = self.tiled(model, tile, OVERLAP if overlap is None else overlap, show_progress)
        if film is not None and masks != "rle":
            raise UserError("film needs masks='rle'.")
        source = open_source(inputs, self.channels, as_stored=self._bands is not None)
        video = source if isinstance(source, Video) else None
        if video is None and (track or film is not None):
            name = "track" if track else "film"
            raise UserError(f"{name} works only for a video or camera, not for images.")
        kept, tally = Collected(), Tally()
        sinks: list[Sink] = [Tracks(video, score_thr)] if video is not None and track else []
        sinks.append(tally if video is not None and video.live else kept)
        if video is not None and film is not None:
            sinks.append(self._film(video, as_path(film, "film"), score_thr))
        if out_dir is not None:
            folder = as_path(out_dir, "out_dir") / "preds"
            sinks.append(json_sink(source, folder))
            check_writable(folder, f"out_dir={str(out_dir)!r}")
        with self._lock:
            report = walk(
                source,
                model,
                sinks,
                counter=self._counter,
                show_progress=show_progress,
                depths=depths_of(source),
            )
        result = dict(predictions=kept.results, images=report.images, failed=report.failed)
        if video is not None and video.live:
            result["labels"] = dict(sorted(tally.labels.items()))
        return result

    def _film(self, video: Video, path: Path, score_thr: float) -> Sink:
        """Draws on a video.

        Raises:
            UserError: what draws is not installed.
        """
        try:
            from mmdet_maskr.deploy.film import Film
        except ImportError as error:
            raise UserError(
                f"film needs {error.name}, which is not installed: run "
                "`pip install pycocotools matplotlib`."
            ) from error
        return Film(film_of(video, path.parent, path), self.classes, score_thr)

    def as_wanted(self, masks: str = "rle") -> Model:
        """The model with the mask format of one call."""
        return _AsWanted(self, masks)

    @property
    def channels(self) -> int:
        """How many bands an image has."""
        return self._bands or 3

    def tiled(self, model: Model, tile: object, overlap: object, show_progress: bool) -> TiledModel:
        """A model of :meth:`as_wanted` on tiles; see :meth:`__call__`.

        Raises:
            UserError: as :func:`.grid.check_tiling`.
        """
        steps = self.metadata["preprocessing"]
        scale = (steps["resize"] or {}).get("scale")
        tiling = check_tiling(tile, overlap, int(min(scale)) if scale else None, LEAST_TILE)

        def open_image(image: Image) -> Raster:
            return open_raster(
                image.content,
                lambda path: read_image(path, steps.get("load")),
                self.channels,
                is_color=self._bands is None,
            )

        def found(image: Image, raster: Raster, lists: dict[str, Any]) -> _Lists:
            return _Lists(lists)

        return TiledModel(model, tiling, open_image, found, show_progress=show_progress)

    def run(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Run the graph on an input (1, C, H, W); returns its outputs by name."""
        names, found = self.metadata["outputs"], self._run(image)
        if len(names) != len(found):
            raise UserError(
                f"the model has {len(found)} outputs, but its metadata list {len(names)}: the "
                f"files belong to two exports. {CURE}"
            )
        return dict(zip(names, found, strict=True))

    def interpret(
        self, outputs: dict[str, np.ndarray], image: Prepared, masks: str = "rle"
    ) -> dict[str, Any]:
        """Convert the graph's outputs to predictions in pixels of the image."""
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


class _Lists(NamedTuple):
    lists: dict[str, Any]


class _AsWanted(NamedTuple):
    """An exported model as one call wants it."""

    model: ExportedModel
    masks: str

    def prepare(self, image: Image) -> Prepared:
        steps = self.model.metadata["preprocessing"]
        pixels = read_image(image.content, steps.get("load"))
        if self.model._bands is not None:
            check_range(pixels.dtype, steps["in_the_graph"].get("mean", ()), str(image.name))
        return prepare(pixels, steps["resize"])

    def detect(self, prepared: list[Prepared]) -> list[_Lists]:
        return [
            _Lists(self.model.interpret(self.model.run(image.image), image, self.masks))
            for image in prepared
        ]

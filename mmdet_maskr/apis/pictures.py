"""Pictures of detections: shown, written, returned, or put into a video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
from mmdet.datasets.transforms import InferencerLoader
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from mmengine.visualization import Visualizer

from mmdet_maskr.apis import predictions
from mmdet_maskr.apis.detector import FoundSample
from mmdet_maskr.datasets.transforms import LoadBands
from mmdet_maskr.inference.inputs import file_name
from mmdet_maskr.inference.sinks import stem_of
from mmdet_maskr.inference.video import VideoSink
from mmdet_maskr.inference.walk import Image, Sink
from mmdet_maskr.inference.window import Window
from mmdet_maskr.visualization.draw import shown

MAPS = ("pred_sem_seg", "pred_panoptic_seg")


class Pictures(Sink):
    """Draws each image of a call; a sink of a walk.

    Args:
        visualizer: draws the pictures.
        loader: the step of the pipeline that reads files.
        least: score threshold of each class.
        folder: folder for the pictures, named like their images; None writes none.
        film: gets the pictures as frames of a video.
        window: shows the pictures as frames of a video.
        keep: whether to keep the pictures in ``results``, (H, W, 3) in RGB.
        show: whether to show each picture in a window.
        wait_time: seconds to show each picture; 0 waits for a key.
        draw_pred: draw the detections, or only the image.
    """

    def __init__(
        self,
        visualizer: Visualizer,
        loader: InferencerLoader,
        least: Sequence[float],
        folder: Path | None = None,
        film: VideoSink | None = None,
        window: Window | None = None,
        keep: bool = False,
        show: bool = False,
        wait_time: float = 0,
        draw_pred: bool = True,
    ) -> None:
        self.results: list[np.ndarray] = []
        self.place = film.path if film is not None else folder
        self._visualizer, self._loader, self._least = visualizer, loader, least
        self._folder, self._film, self._keep = folder, film, keep
        self._window = window
        self._legend = getattr(visualizer, "legend", None)
        if (film is not None or window is not None) and self._legend:
            visualizer.legend = False  # frames are of one size
        self._options: dict[str, Any] = dict(show=show, wait_time=wait_time, draw_pred=draw_pred)

    def add(self, image: Image, number: int, found: FoundSample) -> None:
        name = f"{stem_of(image, number)}.jpg"
        if isinstance(image.content, str):
            name = file_name(image.content)  # a download has the suffix of an image
        self._visualizer.add_datasample(
            name,
            picture_of(image.content, self._loader),
            self._drawn(found),
            draw_gt=False,
            pred_score_thr=-1.0,  # it has been applied
            out_file=None if self._folder is None else str(self._folder / name),
            **self._options,
        )
        if self._film is None and self._window is None and not self._keep:
            return
        picture = self._visualizer.get_image()
        if self._film is not None:
            self._film.write(picture, image.seconds if self._film.keeps_time else None)
        if self._keep:
            self.results.append(picture)
        if self._window is not None:
            self._window.show(picture)

    def close(self, whole: bool) -> None:
        if self._legend:
            self._visualizer.legend = True
        if self._window is not None:
            self._window.close()
        if self._film is not None:
            self._film.close(whole)

    def _drawn(self, found: FoundSample) -> DetDataSample:
        """What is drawn of the findings."""
        sample = found.sample
        drawn = DetDataSample(metainfo=sample.metainfo)
        if "pred_instances" in sample:
            instances = sample.pred_instances
            if found.ids is not None:
                instances = InstanceData(**dict(instances.items()), track_ids=found.ids)
            drawn.pred_instances = predictions.above(instances, self._least)
        for name in MAPS:
            if name in sample:
                setattr(drawn, name, sample.get(name))
        return drawn


def picture_of(image: str | np.ndarray, loader: InferencerLoader) -> np.ndarray:
    """Load an image as the model sees it, (H, W, 3) uint8 RGB.

    If the pipeline ignores the EXIF orientation, boxes are in pixels of the image that is not
    rotated.

    Args:
        image: path, or array in BGR.
        loader: the step of the pipeline that reads files.
    """
    if isinstance(image, np.ndarray):
        return shown(image)
    options = loader.from_file
    if isinstance(options, LoadBands):
        return shown(loader(image)["img"][..., :3][..., ::-1])  # the file's order is RGB
    upright = options.color_type in ("color", "grayscale")
    upright = upright and (options.imdecode_backend or "cv2") in ("cv2", "pillow")
    flag = "color" if upright else "color_ignore_orientation"
    pixels = mmcv.imread(image, flag, backend="cv2")
    if pixels is None:  # OpenCV cannot read what the pipeline's decoder can
        pixels = loader(image)["img"]
    return shown(pixels)

"""Ids of objects across the frames of a video, by a tracker of the library ``trackers``."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmdet_maskr.errors import UserError
from mmdet_maskr.inference.video import Video
from mmdet_maskr.inference.walk import Found, Image, Sink

LOST_SECONDS = 1.0  # for which an object that is not seen keeps its id
LEAST_IOU = 0.2  # of a box and where its object is expected


class Tracks(Sink):
    """Puts ``track_ids`` into the lists of each frame: the first of the sinks.

    OC-SORT (Cao et al., Observation-Centric SORT, CVPR 2023), which expects each object where its
    motion leads and assigns boxes by IoU. Ids begin at 0; an object has one from the second frame
    that it is seen in, so that what is found in a single frame has none.

    Args:
        video: whose frames come.
        score_thr: detections below it get no id.

    Raises:
        UserError: the library is not installed.
    """

    def __init__(self, video: Video, score_thr: float = 0.0) -> None:
        try:
            from supervision import Detections
            from trackers import OCSORTTracker
        except ImportError as error:
            raise UserError(
                "tracking needs the package trackers, which is not installed: run "
                "`pip install 'mmdet-maskr[track]'` or `pip install trackers`."
            ) from error
        self._detections = Detections
        self._live = video.live
        self._tracker = OCSORTTracker(
            lost_track_buffer=round(30 * LOST_SECONDS),  # of 30 frames a second, at any rate
            frame_rate=video.fps,
            minimum_consecutive_frames=1,
            minimum_iou_threshold=LEAST_IOU,
            high_conf_det_threshold=score_thr,
        )

    def add(self, image: Image, number: int, found: Found) -> None:
        # frames of a camera are as far apart as the model is slow
        seconds = image.seconds if self._live else None
        found.lists["track_ids"] = self.ids(found.lists, seconds)

    def ids(self, lists: dict[str, Any], seconds: float | None = None) -> list[int | None]:
        """The id of each detection of the next frame; None for one without.

        Args:
            lists: of a frame, with ``bboxes`` and ``scores``.
            seconds: since the first frame; None where all are equally far apart.
        """
        count = len(lists["scores"])
        found = self._detections(
            xyxy=np.array(lists["bboxes"], np.float64).reshape(count, 4),
            confidence=np.array(lists["scores"], np.float64),
            class_id=np.arange(count),  # the tracker returns them in an order of its own
        )
        tracked = self._tracker.update(found, timestamp=seconds)
        ids: list[int | None] = [None] * count
        if tracked.class_id is not None and tracked.tracker_id is not None:
            for place, name in zip(tracked.class_id, tracked.tracker_id, strict=True):
                ids[place] = None if name < 0 else int(name)
        return ids

"""Pictures of a report, encoded so that the page stays below its size limit."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

import cv2
import numpy as np

MOST_BYTES = 6_500_000  # of all pictures, as they stand in the page
QUALITIES = ((1400, 88), (1200, 85), (1000, 80), (800, 75), (640, 70), (480, 60), (320, 50))


@dataclass
class Album:
    """Pictures by number, and what is in them for those who cannot see them."""

    pictures: list[np.ndarray] = field(default_factory=list)

    def add(self, picture: np.ndarray) -> int:
        """Take up a picture (H, W, 3) uint8 RGB; returns its number."""
        self.pictures.append(_limited(picture, QUALITIES[0][0]))
        return len(self.pictures) - 1

    def sources(self, most_bytes: int = MOST_BYTES) -> list[dict]:
        """``src``, ``width`` and ``height`` of each, as large and good as ``most_bytes`` allow."""
        for longest, quality in QUALITIES:
            found = [_encoded(_limited(p, longest), quality) for p in self.pictures]
            if sum(len(entry["src"]) for entry in found) <= most_bytes:
                break
        return found if self.pictures else []


def _limited(picture: np.ndarray, longest: int) -> np.ndarray:
    factor = longest / max(picture.shape[:2])
    if factor >= 1:
        return picture
    return cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def _encoded(picture: np.ndarray, quality: int) -> dict:
    pixels = np.ascontiguousarray(picture[..., ::-1])
    data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    source = f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"
    return dict(src=source, width=picture.shape[1], height=picture.shape[0])

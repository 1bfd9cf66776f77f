"""Pictures of what a detector found."""

from __future__ import annotations

import tempfile
from pathlib import Path

import cv2
import mmcv
import numpy as np
from mmdet.datasets.transforms import InferencerLoader


def as_seen(image: str | np.ndarray, loader: InferencerLoader, folder: Path) -> str | np.ndarray:
    """A file that is drawn as the model saw it.

    Pictures are drawn on the upright image. A model whose pipeline disregards EXIF's orientation
    has seen, and found its boxes on, another one.

    Args:
        image: path; an array (H, W, 3) is given back.
        loader: the pipeline's InferencerLoader.
        folder: where a copy of the same name is written, if it must be.
    """
    options = loader.from_file
    backend = options.imdecode_backend or "cv2"
    follows = options.color_type in ("color", "grayscale") and backend in ("cv2", "pillow")
    if follows or not isinstance(image, str):
        return image
    pixels = mmcv.imread(image, "color_ignore_orientation", backend="cv2")
    content = cv2.imencode(".png", pixels)[1]
    copy = Path(tempfile.mkdtemp(dir=folder)) / Path(image).name  # it is read by its content
    copy.write_bytes(content.tobytes())
    return str(copy)

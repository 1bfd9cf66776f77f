"""The images of a comparison: found, chosen, and put into a page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mmdet_maskr.errors import UserError
from mmdet_maskr.inference.inputs import expand, is_url

LONGEST_SIDE = 1600  # pixels of an image on the page; overlays are in pixels of the original
LOSSLESS_BYTES = 200_000  # PNGs up to here; larger ones become JPEGs
JPEG_QUALITY = 90


def find_images(paths: Sequence[str | Path]) -> list[Path]:
    """Files as they are given, and the images of folders and patterns in the order of their names.

    Raises:
        UserError: a path that is not there, a folder without images, a URL.
    """
    named = [str(path) for path in paths]
    for path in named:
        if is_url(path):
            raise UserError(f"--images: {path} is a URL: download it and pass the file.")
    try:
        return list(dict.fromkeys(Path(str(path)) for path in expand(named)))
    except UserError as error:
        raise UserError(f"--images: {error}") from error


def spread(paths: Sequence[Path], count: int) -> list[Path]:
    """At most ``count`` of the paths, evenly spread over them, in their order.

    Raises:
        UserError: ``count`` is below 1.
    """
    if count < 1:
        raise UserError(f"--max-images {count}: it must be 1 or more.")
    count = min(count, len(paths))
    return [paths[i] for i in np.linspace(0, len(paths) - 1, count).round().astype(int)]


def as_data_uri(image: np.ndarray) -> str:
    """An image for ``<img src>``: PNG where that is small, else JPEG; shrunk where it is large.

    Args:
        image: (H, W, 3) uint8, BGR.
    """
    factor = LONGEST_SIDE / max(image.shape[:2])
    if factor < 1:
        image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    kind, data = "png", cv2.imencode(".png", image)[1]
    if len(data) > LOSSLESS_BYTES:
        kind = "jpeg"
        data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return f"data:image/{kind};base64,{base64.b64encode(data.tobytes()).decode()}"

"""The images of a comparison: found, chosen, read, and put into a page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import cv2
import mmcv
import numpy as np
from mmdet.apis.det_inferencer import IMG_EXTENSIONS

from mmdet_maskr.errors import UserError

LONGEST_SIDE = 1600  # pixels of an image on the page; overlays are in pixels of the original
LOSSLESS_BYTES = 200_000  # PNGs up to here; larger ones become JPEGs
JPEG_QUALITY = 90


def find_images(paths: Sequence[str | Path]) -> list[Path]:
    """Files as they are given, and the images of folders in the order of their names.

    Raises:
        UserError: a path that is not there, a folder without images.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in IMG_EXTENSIONS)
            if not inside:
                raise UserError(f"--images: there are no images in the folder {path.absolute()}.")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise UserError(f"--images: there is no image or folder {path.absolute()}.")
    return list(dict.fromkeys(found))


def spread(paths: Sequence[Path], count: int) -> list[Path]:
    """At most ``count`` of the paths, evenly spread over them, in their order.

    Raises:
        UserError: ``count`` is below 1.
    """
    if count < 1:
        raise UserError(f"--max-images {count}: it must be 1 or more.")
    count = min(count, len(paths))
    return [paths[i] for i in np.linspace(0, len(paths) - 1, count).round().astype(int)]


def read_image(path: Path) -> np.ndarray | None:
    """(H, W, 3) uint8, BGR, turned as its EXIF data says; None where it cannot be decoded."""
    try:
        return mmcv.imfrombytes(path.read_bytes())
    except (OSError, cv2.error):
        return None


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

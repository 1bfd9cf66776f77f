"""Turns user inputs into the graph's input, with the pixels of mmdet's test pipeline."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from mmdet_maskr.bands import checked, read_bands
from mmdet_maskr.errors import UserError
from mmdet_maskr.image_sizes import resized_shape
from mmdet_maskr.inference.walk import Unreadable, is_out_of_memory

DECODERS = ("cv2", "pillow")
LOAD = dict(decoder="cv2", orientation=True, float32=False)  # where the metadata says nothing


class Prepared(NamedTuple):
    """The graph's input and its scale relative to the image.

    Args:
        image: (1, C, h, w) float32.
        size: (height, width) of the image itself.
        scale: (x, y): pixels of the input per pixel of the image.
    """

    image: np.ndarray
    size: tuple[int, int]
    scale: tuple[float, float]


def read_image(source: str | Path | np.ndarray, load: dict[str, Any] | None = None) -> np.ndarray:
    """Load an image: (H, W, 3) in BGR as LoadImageFromFile, or (H, W, C) as LoadBands.

    Args:
        source: a file, or an array (H, W, 3), which is used unchanged.
        load: ``load`` from the metadata: ``decoder``, one of :data:`DECODERS`; ``orientation``,
            whether to apply the EXIF orientation; ``float32``, whether to resize in float32; or
            only ``bands``, their number.

    Raises:
        Unreadable: the decoder cannot read the file, or it has another number of bands.
        UserError: the array has another number of bands.
        MemoryError: the image does not fit into memory.
    """
    if load is not None and "bands" in load:
        return _read_bands(source, load["bands"])
    load = {**LOAD, **(load or {})}
    if isinstance(source, np.ndarray):
        image = source
    elif load["decoder"] == "pillow":
        image = _read_pil(source, load["orientation"])
    else:
        flag = cv2.IMREAD_COLOR | (0 if load["orientation"] else cv2.IMREAD_IGNORE_ORIENTATION)
        try:
            content = np.fromfile(source, np.uint8)
            image = cv2.imdecode(content, flag) if content.size else None
        except OSError as error:
            raise Unreadable(str(source), (error.strerror or str(error)).lower()) from error
        except cv2.error as error:  # of larger ones than OpenCV takes, too
            if is_out_of_memory(error):
                raise MemoryError(str(error).strip()) from error
            reason = f"OpenCV cannot read it as an image ({str(error).strip()})"
            raise Unreadable(str(source), reason) from error
        if image is None:
            raise Unreadable(str(source), "OpenCV cannot read it as an image")
    return image.astype(np.float32) if load["float32"] else image


def _read_bands(source: str | Path | np.ndarray, bands: int) -> np.ndarray:
    """As LoadBands reads a file, or takes an array."""
    if isinstance(source, np.ndarray):
        image = checked(source, "the array")
        if image.shape[2] != bands:
            raise UserError(f"the array has {image.shape[2]} bands, but the model takes {bands}.")
        return image
    try:
        image = read_bands(source)
    except UserError as error:
        reason = str(error).removeprefix(f"image {source} ").rstrip(".")
        raise Unreadable(str(source), reason) from error
    if image.shape[2] != bands:
        raise Unreadable(str(source), f"it has {image.shape[2]} bands, but the model takes {bands}")
    return image


def _read_pil(source: str | Path, orientation: bool) -> np.ndarray:
    """By Pillow, as mmcv does; what is transparent in gray images gets mmcv's background."""
    _need_pillow("reads files")
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(source) as file:
            image = ImageOps.exif_transpose(file) if orientation else file.copy()
    except (UnidentifiedImageError, OSError) as error:
        raise Unreadable(str(source), f"Pillow cannot read it as an image ({error})") from error
    if image.mode == "LA":
        gray = image.convert("RGBA")
        image = Image.new("RGB", gray.size, (124, 117, 104))
        image.paste(gray, mask=gray.split()[3])
    return np.array(image.convert("RGB"))[:, :, ::-1]


def _need_pillow(what: str) -> None:
    if importlib.util.find_spec("PIL") is None:
        raise UserError(f"this model {what} with Pillow, which is missing: `pip install pillow`.")


def prepare(image: np.ndarray, resize: dict[str, Any] | None) -> Prepared:
    """Resize an image (H, W, C) as the metadata's ``resize`` says."""
    height, width = image.shape[:2]
    resized = image if resize is None else _resized(image, resize)
    new_height, new_width = resized.shape[:2]
    pixels = np.ascontiguousarray(resized.transpose(2, 0, 1)[None], dtype=np.float32)
    return Prepared(pixels, (height, width), (new_width / width, new_height / height))


def _resized(image: np.ndarray, resize: dict[str, Any]) -> np.ndarray:
    height, width = image.shape[:2]
    scale = resize["scale"]
    if scale is None:
        x, y = resize["scale_factor"]
        scale = (int(width * float(x) + 0.5), int(height * float(y) + 0.5))
    size = (max(int(scale[0]), 1), max(int(scale[1]), 1))
    if resize["keep_ratio"] or resize["pixels"] == "detectron2":
        size = resized_shape(height, width, scale, resize["pixels"])[::-1]
    if resize["pixels"] == "detectron2":
        return _resize_pil(image, size)
    resized = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    return resized if resized.ndim == 3 else resized[..., None]  # of one band


def _resize_pil(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    _need_pillow("resizes images as Detectron2 does,")
    from PIL import Image

    resized = Image.fromarray(image.astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    return np.array(resized)

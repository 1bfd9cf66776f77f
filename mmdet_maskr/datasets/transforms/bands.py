"""Loading of images with any number of bands, and of more than 8 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets.transforms import InferencerLoader
from mmdet.registry import TRANSFORMS

from mmdet_maskr.bands import MOST_BANDS, checked, read_bands
from mmdet_maskr.errors import UserError


@TRANSFORMS.register_module()
class LoadBands(LoadImageFromFile):
    """Loads all bands of an image with all their bits: TIFF, PNG and all else that OpenCV reads.

    ``img`` is (H, W, channels) uint8, uint16 or float32, in the file's order (RGB where mmdet has
    BGR), and is not scaled: ``data_preprocessor`` has ``mean`` and ``std`` of each band, and no
    ``bgr_to_rgb``. See :func:`mmdet_maskr.bands.read_bands`.

    Args:
        channels: of the model; 1 to 16.

    Raises:
        UserError: channels is out of range; later an image that has other bands, that cannot be
            read, or has pixels that are no number.
    """

    def __init__(self, channels: int) -> None:
        if isinstance(channels, bool) or not isinstance(channels, int):
            raise UserError(
                f"LoadBands.channels={channels!r}: it must be an integer, the number of bands."
            )
        if not 1 <= channels <= MOST_BANDS:
            raise UserError(f"LoadBands.channels={channels}: it must be from 1 to {MOST_BANDS}.")
        super().__init__(color_type="unchanged")
        self.channels = channels

    def transform(self, results: dict) -> dict:
        """Set ``img``, ``img_shape`` and ``ori_shape``."""
        path = results["img_path"]
        return self._with(results, read_bands(path), f"image {path}")

    def take(self, results: dict) -> dict:
        """The same of an array in ``img``."""
        return self._with(results, checked(results["img"], "the array"), "the array")

    def _with(self, results: dict, image: np.ndarray, named: str) -> dict:
        if image.shape[2] != self.channels:
            raise UserError(
                f"{named} has {image.shape[2]} bands, but the model takes {self.channels} "
                "(LoadBands.channels of the config)."
            )
        results["img"] = image
        results["img_shape"] = results["ori_shape"] = image.shape[:2]
        return results

    def __repr__(self) -> str:
        return f"LoadBands(channels={self.channels})"


@TRANSFORMS.register_module()
class InferencerBandsLoader(InferencerLoader):
    """LoadBands for files and arrays; inferencers put it in LoadBands' place.

    Args:
        channels: of the model.
    """

    def __init__(self, channels: int) -> None:
        self.from_file = LoadBands(channels)
        self.from_ndarray = self._take

    def _take(self, results: dict[str, Any]) -> dict[str, Any]:
        return self.from_file.take(dict(results, img_path=None))

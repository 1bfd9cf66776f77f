"""Resizing as the codebases of converted models do it."""

from __future__ import annotations

import mmcv
import numpy as np
import torch
import torch.nn.functional as F
from mmdet.registry import TRANSFORMS

from mmdet_maskr.datasets.transforms.geometric import KeypointResize
from mmdet_maskr.errors import UserError
from mmdet_maskr.image_sizes import resized_shape


@TRANSFORMS.register_module()
class SourceResize(KeypointResize):
    """KeypointResize with ``keep_ratio=True`` and the pixels of another codebase.

    - 'detectron2': PIL's antialiased bilinear filter on 8 bits; sizes are rounded to the nearest.
    - 'torchvision': bilinear samples without antialiasing in float32, which stay float32; sizes
      are rounded down.

    Args:
        scale: (longest, shortest) sides in pixels that the image has at most.
        convention: 'detectron2' or 'torchvision'.
        kwargs: further options of mmdet's Resize.

    Raises:
        UserError: another convention, or an option that the convention decides.
    """

    def __init__(
        self, scale: tuple[int, int] | None = None, convention: str = "detectron2", **kwargs
    ) -> None:
        if convention not in ("detectron2", "torchvision"):
            raise UserError(
                "SourceResize.convention must be one of ('detectron2', 'torchvision'), not "
                f"{convention!r}."
            )
        decided = {"scale_factor", "backend", "interpolation"} & set(kwargs)
        if decided or not kwargs.pop("keep_ratio", True):
            raise UserError(
                f"SourceResize takes no {sorted(decided) or 'keep_ratio=False'}: its convention "
                "decides that. Use Resize instead."
            )
        super().__init__(scale=scale, keep_ratio=True, **kwargs)
        self.convention = convention

    def _resize_img(self, results: dict) -> None:
        """Resize ``results['img']`` to fit ``results['scale']``."""
        image = results["img"]
        height, width = image.shape[:2]
        new_h, new_w = resized_shape(height, width, results["scale"], self.convention)
        if self.convention == "detectron2":
            image = mmcv.imresize(image, (new_w, new_h), backend="pillow")
        else:
            image = _resize_float(image, new_h, new_w)
        results["img"] = image
        results["img_shape"] = (new_h, new_w)
        results["scale_factor"] = (new_w / width, new_h / height)
        results["keep_ratio"] = True

    def _resize_masks(self, results: dict) -> None:
        """Resize masks to the image's size, which is not always what mmdet would choose."""
        if results.get("gt_masks") is not None:
            results["gt_masks"] = results["gt_masks"].resize(results["img_shape"])


def _resize_float(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """(h, w, C) of any type -> (height, width, C) float32."""
    tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float()[None]
    resized = F.interpolate(tensor, (height, width), mode="bilinear", align_corners=False)
    return np.ascontiguousarray(resized[0].numpy().transpose(1, 2, 0))

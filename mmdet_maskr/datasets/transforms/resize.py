"""Resizing that matches the codebases of converted models."""

from __future__ import annotations

from mmdet.registry import TRANSFORMS

from mmdet_maskr import conventions
from mmdet_maskr.datasets.transforms.geometric import KeypointResize
from mmdet_maskr.errors import UserError


@TRANSFORMS.register_module()
class SourceResize(KeypointResize):
    """KeypointResize with ``keep_ratio=True`` and the pixels of another codebase.

    Filter, type and rounding of sizes are those of :class:`.Detectron2` or :class:`.Torchvision`.

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
        self._convention = conventions.find("SourceResize.convention", convention, "resize")
        decided = {"scale_factor", "backend", "interpolation"} & set(kwargs)
        if decided or not kwargs.pop("keep_ratio", True):
            raise UserError(
                f"SourceResize does not take {sorted(decided) or 'keep_ratio=False'}: its "
                "convention sets it. Use Resize instead."
            )
        super().__init__(scale=scale, keep_ratio=True, **kwargs)
        self.convention = convention

    def _resize_img(self, results: dict) -> None:
        """Resize ``results['img']`` to fit ``results['scale']``."""
        image = results["img"]
        height, width = image.shape[:2]
        new_h, new_w = self._convention.resized_shape(height, width, results["scale"])
        results["img"] = self._convention.resize(image, new_h, new_w)
        results["img_shape"] = (new_h, new_w)
        results["scale_factor"] = (new_w / width, new_h / height)
        results["keep_ratio"] = True

    def _resize_masks(self, results: dict) -> None:
        """Resize masks to the image's size, which is not always what mmdet would choose."""
        if results.get("gt_masks") is not None:
            results["gt_masks"] = results["gt_masks"].resize(results["img_shape"])

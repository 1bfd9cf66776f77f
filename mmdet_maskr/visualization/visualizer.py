"""mmdet's visualizer, drawing with :mod:`mmdet_maskr.visualization.draw`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pycocotools.mask
from mmdet.registry import VISUALIZERS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import get_box_tensor
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmdet.visualization import DetLocalVisualizer, get_palette
from mmengine.dist import master_only
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_maskr.errors import UserError
from mmdet_maskr.ops.mask_rle import RLEMasks
from mmdet_maskr.visualization.draw import (
    MASK_ALPHA,
    Colour,
    class_colours,
    draw_instances,
    enlarge,
    enlargement,
)
from mmdet_maskr.visualization.skeleton import KEYPOINT_THR, make_skeleton, with_visibility

LEAST_SIDE = 192  # pixels; on smaller pictures labels hide what they name
WINDOWLESS = ("agg", "cairo", "pdf", "pgf", "ps", "svg", "template")  # matplotlib's backends
MAPS = ("gt_sem_seg", "pred_sem_seg", "gt_panoptic_seg", "pred_panoptic_seg")


@VISUALIZERS.register_module()
class InstanceVisualizer(DetLocalVisualizer):
    """Draws masks with contours, boxes, skeletons, and labels that keep clear of one another.

    Works wherever mmdet's DetLocalVisualizer does: ``visualizer.type`` of a config, for
    DetVisualizationHook, ``tools/test.py --show-dir`` and the inferencers. Sizes of lines and
    letters follow the image. Names, colours and skeleton are those of ``dataset_meta``.

    Args:
        name: name of the instance.
        image: (H, W, 3) RGB image to start with.
        vis_backends: configs of where pictures and scalars are stored.
        save_dir: folder for the backends.
        bbox_color: RGB colour of all boxes, or a palette's name as mmdet takes it; None for the
            classes' colours.
        text_color: of letters, likewise; None for black or white, whichever can be read.
        mask_color: of masks, likewise; None for the classes' colours.
        line_width: of boxes and contours in pixels; None for one that grows with the image.
        alpha: mmdet's name for ``mask_alpha``, and the opacity of semantic and panoptic maps.
        mask_alpha: opacity of masks, 0 to 1.
        keypoint_thr: predicted keypoints with a lower score are left out, with their limbs.
        least_side: small images are drawn enlarged, by the least whole factor that gives their
            shorter side so many pixels; 0 for never. Images with semantic or panoptic maps are not.

    Raises:
        UserError: both ``alpha`` and ``mask_alpha``.
    """

    def __init__(
        self,
        name: str = "visualizer",
        image: np.ndarray | None = None,
        vis_backends: list[dict] | None = None,
        save_dir: str | None = None,
        bbox_color: Colour | str | None = None,
        text_color: Colour | str | None = None,
        mask_color: Colour | str | None = None,
        line_width: float | None = None,
        alpha: float | None = None,
        mask_alpha: float | None = None,
        keypoint_thr: float = KEYPOINT_THR,
        least_side: int = LEAST_SIDE,
    ) -> None:
        if alpha is not None and mask_alpha is not None:
            raise UserError(
                f"visualizer has alpha={alpha} and mask_alpha={mask_alpha}: leave one out."
            )
        stock = dict(text_color=text_color, line_width=line_width, alpha=alpha)  # for maps
        super().__init__(
            name=name,
            image=image,
            vis_backends=vis_backends,
            save_dir=save_dir,
            bbox_color=bbox_color,
            mask_color=mask_color,
            **{option: value for option, value in stock.items() if value is not None},
        )
        own = alpha if mask_alpha is None else mask_alpha
        self.mask_alpha = MASK_ALPHA if own is None else own
        self._ink, self._line_width = text_color, line_width
        self.keypoint_thr = keypoint_thr
        self.least_side = least_side
        self._has_maps = False

    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: DetDataSample | None = None,
        *args,
        **kwargs,
    ) -> None:
        """DetLocalVisualizer's; maps are drawn over instances, and have the image's size."""
        self._has_maps = data_sample is not None and any(key in data_sample for key in MAPS)
        super().add_datasample(name, image, data_sample, *args, **kwargs)

    @master_only
    def get_image(self) -> np.ndarray:
        """The picture, (H, W, 3) RGB.

        mmengine's has matplotlib paint it anew, in 100 bytes a pixel, also where nothing was drawn
        with matplotlib.
        """
        axes, image = self.ax_save, self._image
        drawn = (axes.lines, axes.patches, axes.collections, axes.texts, axes.images[1:])
        if image is not None and image.ndim == 3 and not any(map(len, drawn)):
            return image.copy()
        return super().get_image()

    @master_only
    def show(
        self,
        drawn_img: np.ndarray | None = None,
        win_name: str = "image",
        wait_time: float = 0.0,
        continue_key: str = " ",
        backend: str = "matplotlib",
    ) -> None:
        """mmengine's; without a display that one waits for a key that nobody can press.

        Raises:
            UserError: no window can be opened.
        """
        import matplotlib.pyplot as plt

        if backend == "matplotlib" and plt.get_backend().lower() in WINDOWLESS:
            raise UserError(
                "no window can be opened here: there is no display, or matplotlib has no toolkit "
                f"for windows such as python3-tk (its backend is {plt.get_backend()}). Leave show "
                "out, and look at the files: --show-dir of tools/test.py, --out-dir of "
                "tools/browse_dataset.py, out_dir of an inferencer."
            )
        super().show(drawn_img, win_name, wait_time, continue_key, backend)

    def _draw_instances(
        self,
        image: np.ndarray,
        instances: InstanceData,
        classes: Sequence[str] | None,
        palette: Sequence[Colour] | str | None,
    ) -> np.ndarray:
        """Draw ground truth or predictions.

        Args:
            image: (H, W, 3) uint8 RGB.
            instances: on the CPU, ``bboxes`` (N, 4) xyxy and ``labels`` (N,), and perhaps
                ``scores`` (N,), ``masks`` ((N, H, W), BitmapMasks, PolygonMasks or RLEMasks) and
                ``keypoints``: (N, K, 3) with visibilities, or (N, K, 2) with ``keypoint_scores``
                (N, K). All in pixels of ``image``.
            classes: names by label.
            palette: RGB colours by label, or a name as mmdet's visualizer takes it.

        Returns:
            (f H, f W, 3) uint8 RGB, f being 1 for images that are not small.

        Raises:
            UserError: as many keypoints as ``dataset_meta`` does not name.
        """
        factor = 1 if self._has_maps else enlargement(image, self.least_side)
        side = factor * min(image.shape[:2])
        if "bboxes" not in instances or len(instances) == 0:
            return enlarge(image, np.zeros((0, 4)), None, None, side)[0]
        labels = instances.labels.tolist()
        if isinstance(palette, str) and palette != "random":  # 'coco', 'voc', a colour's name ...
            palette = get_palette(palette, max(labels) + 1)
        colours = class_colours(palette, max(labels) + 1)
        names = [classes[label] if classes else f"class {label}" for label in labels]
        if "scores" in instances:
            scores = instances.scores.tolist()
            names = [f"{name} {score:.2f}" for name, score in zip(names, scores, strict=True)]
        keypoints = self._keypoints(instances)
        skeleton = None
        if keypoints is not None:
            skeleton = make_skeleton(self.dataset_meta, keypoints.shape[1])
        boxes = get_box_tensor(instances.bboxes).numpy()
        masks = one_by_one(instances.masks) if "masks" in instances else None
        image, boxes, masks, keypoints = enlarge(image, boxes, masks, keypoints, side)
        given = [self._given(c, labels) for c in (self.bbox_color, self.mask_color, self._ink)]
        chosen = [colours[label] for label in labels]
        return draw_instances(
            image,
            boxes,
            masks,
            names,
            chosen if given[0] is None else given[0],
            keypoints,
            skeleton,
            self.mask_alpha,
            chosen if given[1] is None else given[1],
            given[2],
            self._line_width,
        )

    def _given(self, colour: Colour | str | None, labels: list[int]) -> list[Colour] | None:
        """The colour of each label that an option names; None where it does not."""
        if colour is None:
            return None
        palette = get_palette(colour, max(labels) + 1)
        return [
            (int(red), int(green), int(blue))
            for red, green, blue in map(palette.__getitem__, labels)
        ]

    def _keypoints(self, instances: InstanceData) -> np.ndarray | None:
        """(N, K, 3) x, y, visibility."""
        if "keypoints" not in instances:
            return None
        keypoints = np.asarray(instances.keypoints, float)
        if "keypoint_scores" not in instances:
            return keypoints
        return with_visibility(keypoints, instances.keypoint_scores, self.keypoint_thr)


def one_by_one(
    masks: Tensor | np.ndarray | BitmapMasks | PolygonMasks | RLEMasks,
) -> Sequence[np.ndarray] | np.ndarray:
    """N masks (H, W) uint8; RLEs are decoded when they are asked for, and not kept."""
    return _Decoded(masks) if isinstance(masks, RLEMasks) else to_arrays(masks)


class _Decoded(Sequence):
    def __init__(self, masks: RLEMasks) -> None:
        self._masks = masks

    def __len__(self) -> int:
        return len(self._masks)

    def __getitem__(self, index: Any) -> Any:
        return np.ascontiguousarray(pycocotools.mask.decode(self._masks[int(index)]))


def to_arrays(
    masks: Tensor | np.ndarray | BitmapMasks | PolygonMasks | RLEMasks,
) -> np.ndarray:
    """Masks of any kind as (N, H, W) uint8."""
    if isinstance(masks, (BitmapMasks, PolygonMasks)):
        masks = masks.to_ndarray()
    elif isinstance(masks, (Tensor, RLEMasks)):
        masks = masks.numpy()
    return np.asarray(masks, np.uint8)

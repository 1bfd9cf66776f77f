"""mmdet's visualizer, drawing with :mod:`mmdet_maskr.visualization.draw`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from mmdet.registry import VISUALIZERS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import get_box_tensor
from mmdet.visualization import DetLocalVisualizer
from mmengine.dist import master_only
from mmengine.structures import InstanceData

from mmdet_maskr.errors import UserError
from mmdet_maskr.visualization.colors import colored_by_instance, id_colors, instance_colors
from mmdet_maskr.visualization.draw import (
    LEAST_SIDE,
    MASK_ALPHA,
    draw_instances,
    enlarge,
    enlargement,
)
from mmdet_maskr.visualization.drawable import (
    FAR,
    colors_of,
    drawable,
    given_colors,
    names_of,
    picture_of,
    points_of,
)
from mmdet_maskr.visualization.labels import Texts, texts_of
from mmdet_maskr.visualization.mask_arrays import one_by_one
from mmdet_maskr.visualization.panels import Panel, legends, with_gap
from mmdet_maskr.visualization.skeleton import (
    KEYPOINT_THR,
    Color,
    make_skeleton,
)

COLORED_BY = ("auto", "class", "instance")
WINDOWLESS = ("agg", "cairo", "pdf", "pgf", "ps", "svg", "template")  # matplotlib's backends
SIDES = {"gt_instances": "ground truth", "pred_instances": "prediction"}
MAPS = ("gt_sem_seg", "pred_sem_seg", "gt_panoptic_seg", "pred_panoptic_seg")


@VISUALIZERS.register_module()
class InstanceVisualizer(DetLocalVisualizer):
    """Draws masks with contours, boxes, skeletons, and labels that keep clear of one another.

    Works wherever mmdet's DetLocalVisualizer does: ``visualizer.type`` of a config, for
    DetVisualizationHook, ``maskr test --show-dir`` and the inferencers. Sizes of lines and
    letters follow the image and each object. Names, colors and skeleton are those of
    ``dataset_meta``. Where there is one class, each instance has a color of its own, on both sides
    of a pair the same one; ``track_ids`` of a video have theirs. Labels that have no room are in a
    legend under the picture.

    Args:
        name: name of the instance.
        image: (H, W, 3) RGB image to start with.
        vis_backends: configs of where pictures and scalars are stored.
        save_dir: folder for the backends.
        bbox_color: RGB color of all boxes, or a palette's name as mmdet takes it; None for the
            classes' colors.
        text_color: of letters, likewise; None for black or white, whichever can be read.
        mask_color: of masks, likewise; None for the classes' colors.
        line_width: of boxes and contours in pixels; None for one that grows with the image.
        alpha: mmdet's name for ``mask_alpha``, and the opacity of semantic and panoptic maps.
        mask_alpha: opacity of masks, 0 to 1.
        keypoint_thr: predicted keypoints with a lower score are left out, with their limbs.
        least_side: small images are drawn enlarged, by the least whole factor that gives their
            shorter side so many pixels; 0 for never. Images with semantic or panoptic maps are not.
        color_by: 'class' or 'instance'; 'auto' for instances where there is one class whose color
            ``dataset_meta`` does not name.
        legend: whether a strip under the picture names the classes, in pairs of ground truth and
            prediction always, else where labels are left out. False for mmdet's sizes: H x W, or
            H x 2 W for pairs.

    Raises:
        UserError: both ``alpha`` and ``mask_alpha``; an unknown ``color_by``.
    """

    def __init__(
        self,
        name: str = "visualizer",
        image: np.ndarray | None = None,
        vis_backends: list[dict] | None = None,
        save_dir: str | None = None,
        bbox_color: Color | str | None = None,
        text_color: Color | str | None = None,
        mask_color: Color | str | None = None,
        line_width: float | None = None,
        alpha: float | None = None,
        mask_alpha: float | None = None,
        keypoint_thr: float = KEYPOINT_THR,
        least_side: int = LEAST_SIDE,
        color_by: str = "auto",
        legend: bool = True,
    ) -> None:
        if color_by not in COLORED_BY:
            raise UserError(
                f"visualizer has color_by={color_by!r}: it must be one of {COLORED_BY}."
            )
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
        self.mask_alpha = alpha if mask_alpha is None else mask_alpha
        self._ink, self._line_width = text_color, line_width
        self.keypoint_thr = keypoint_thr
        self.least_side = least_side
        self.color_by, self.legend = color_by, legend
        self._has_maps = False
        self._strips: list[np.ndarray] = []  # legends of these panels
        self._known: tuple[np.ndarray, Sequence[Color]] | None = None  # of the panel next to it

    @master_only
    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: DetDataSample | None = None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        show: bool = False,
        wait_time: float = 0,
        out_file: str | None = None,
        pred_score_thr: float = 0.3,
        step: int = 0,
    ) -> None:
        """DetLocalVisualizer's; maps are drawn over instances, and have the image's size.

        An image with one band, or with more than three, is shown by :func:`.picture_of`. Boxes that
        are not finite are left out, which is logged; a label
        without a class is named by its number.

        Raises:
            UserError: the image is none.
        """
        image = picture_of(image)
        self._has_maps = data_sample is not None and any(key in data_sample for key in MAPS)
        self._known, self._strips = None, []
        if data_sample is not None:
            data_sample = data_sample.cpu()
            for key, kind in SIDES.items():
                if key in data_sample:
                    setattr(data_sample, key, drawable(data_sample.get(key), kind))
        if data_sample is not None and not self._has_maps:
            # an empty panel, too, is enlarged
            if draw_gt and "gt_instances" not in data_sample:
                data_sample.gt_instances = InstanceData()
            if draw_pred and "pred_instances" not in data_sample:
                data_sample.pred_instances = InstanceData(scores=torch.zeros(0))
            panels = [data_sample.gt_instances] if draw_gt else []
            if draw_pred:
                found = data_sample.pred_instances
                panels.append(found[found.scores > pred_score_thr])
            if self.legend:
                self._strips = self._legends(image, panels)
        super().add_datasample(
            name, image, data_sample, draw_gt, draw_pred, show, wait_time, out_file,
            pred_score_thr, step,
        )  # fmt: skip
        self._known, self._strips = None, []

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
                "no window can be opened here: there is no display, or matplotlib has no "
                "toolkit for windows such as python3-tk (its backend is "
                f"{plt.get_backend()}). Leave show out and write files instead: --show-dir "
                "of maskr test, --out-dir of maskr browse, out_dir of an inferencer."
            )
        super().show(drawn_img, win_name, wait_time, continue_key, backend)

    def _draw_instances(
        self,
        image: np.ndarray,
        instances: InstanceData,
        classes: Sequence[str] | None,
        palette: Sequence[Color] | str | None,
    ) -> np.ndarray:
        """Draw ground truth or predictions.

        Args:
            image: (H, W, 3) uint8 RGB.
            instances: on the CPU, ``bboxes`` (N, 4) xyxy and ``labels`` (N,), and perhaps
                ``scores`` (N,), ``masks`` ((N, H, W), BitmapMasks, PolygonMasks or RLEMasks) and
                ``keypoints``: (N, K, 3) with visibilities, or (N, K, 2) with ``keypoint_scores``
                (N, K). All in pixels of ``image``.
            classes: names by label.
            palette: RGB colors by label, or a name as mmdet's visualizer takes it.

        Returns:
            (f H, f W, 3) uint8 RGB, f being 1 for images that are not small.

        Raises:
            UserError: as many keypoints as ``dataset_meta`` does not name.
        """
        factor = 1 if self._has_maps else enlargement(image, self.least_side)
        side = factor * min(image.shape[:2])
        panel = self._panel("", instances, classes, palette)
        if len(panel.boxes) == 0:
            picture = enlarge(image, panel.boxes, None, None, side)[0]
        else:
            keypoints = points_of(instances, self.keypoint_thr)
            skeleton = None
            if keypoints is not None:
                skeleton = make_skeleton(self.dataset_meta, keypoints.shape[1])
            masks = one_by_one(instances.masks) if "masks" in instances else None
            image, boxes, masks, keypoints = enlarge(image, panel.boxes, masks, keypoints, side)
            picture = draw_instances(
                image,
                boxes,
                masks,
                panel.texts,
                given_colors(self.bbox_color, instances) or panel.colors,
                keypoints,
                skeleton,
                MASK_ALPHA if self._has_maps and self.mask_alpha is None else self.mask_alpha,
                given_colors(self.mask_color, instances) or panel.colors,
                given_colors(self._ink, instances),
                self._line_width,
            )
        self._known = panel.boxes, panel.colors
        if self._strips:
            picture = np.vstack([picture, self._strips.pop(0)])
            picture = with_gap(picture) if self._strips else picture
        return picture

    def _panel(
        self,
        title: str,
        instances: InstanceData,
        classes: Sequence[str] | None,
        palette: Sequence[Color] | str | None,
    ) -> Panel:
        """Boxes, names, labels and colors of N instances; without masks and keypoints."""
        one_class = classes is not None and len(classes) == 1
        by_instance = self.color_by == "instance"
        if self.color_by == "auto":
            by_instance = one_class and colored_by_instance(palette, 1)
        if "bboxes" not in instances or len(instances) == 0:
            return Panel(title, np.zeros((0, 4)), [], Texts([], []), [], by_instance)
        labels = instances.labels.tolist()
        boxes = get_box_tensor(instances.bboxes).numpy().clip(-FAR, FAR)
        names = names_of(labels, classes)
        scores = instances.scores.tolist() if "scores" in instances else None
        ids = instances.track_ids.tolist() if "track_ids" in instances else None
        texts = texts_of(names, scores, one_class, ids)
        if ids is not None:
            colors = id_colors(ids)
        elif by_instance:
            colors = instance_colors(boxes, self._known)
        else:
            colors = colors_of(labels, palette)
        return Panel(title, boxes, names, texts, colors, by_instance)

    def _legends(self, image: np.ndarray, instances: Sequence[InstanceData]) -> list[np.ndarray]:
        """Legends of the panels."""
        titles = tuple(SIDES.values()) if len(instances) == 2 else ("",)
        meta = self.dataset_meta
        panels = []
        for title, shown in zip(titles, instances, strict=False):
            panel = self._panel(title, shown, meta.get("classes"), meta.get("palette"))
            given = given_colors(self.mask_color, shown) if len(panel.boxes) else None
            if given is not None:
                panel.colors, panel.by_instance = given, False
            panels.append(panel)
        return legends(image.shape, panels, enlargement(image, self.least_side))

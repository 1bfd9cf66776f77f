"""Copy-paste augmentation with boxes, masks and keypoints.

After Ghiasi et al. 2021, "Simple Copy-Paste is a Strong Data Augmentation Method for Instance
Segmentation". Symbols: N objects of the image, K keypoints, H x W image size.
"""

from __future__ import annotations

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks

from mmdet_maskr.datasets.transforms._in_step import check_in_step, move_keypoints
from mmdet_maskr.datasets.transforms._pasting import PastedObject, ignored, paste
from mmdet_maskr.errors import UserError
from mmdet_maskr.structures import GeometryMasks

PLACES = ("random", "same")


@TRANSFORMS.register_module()
class InstanceCopyPaste(BaseTransform):
    """Objects of another image, or of the same one, pasted over an image.

    mmdet's CopyPaste, with keypoints, for masks that stay geometry (``poly2mask=None``) or are
    bitmaps, and for images of different sizes. What a pasted object covers is taken from the masks
    of those below it; their boxes become the bounds of what is left, and keypoints under it count
    as occluded (visibility 1). Objects of which too little is left are dropped. Crowds are not
    pasted, and stay while a pixel of them is left. Objects with a box only are not pasted either;
    they keep their box while enough of it is in sight.

    In a ``MultiImageMixDataset`` the objects come from another image, drawn at random; in a plain
    pipeline from the image itself. There is no cache: what a sample becomes depends on the seed
    and its position alone, so that a resumed training sees what an uninterrupted one does.

    Put it after the annotations are loaded and before ``FilterAnnotations`` and packing.

    Args:
        prob: share of the images that get objects.
        max_num: most objects that are pasted; their number is drawn from 1 on.
        scale: range of the factor of a pasted object's size, drawn on a logarithmic scale.
        flip_prob: share of the pasted objects that are mirrored; their keypoints swap left and
            right.
        least_visible: objects of which a smaller share of their pixels is left are dropped.
        place: 'random', or 'same' for where an object is in its own image, as in the paper.

    Raises:
        UserError: an option out of its range; polygons (``poly2mask=False``), masks that are not
            loaded, annotations that are in pixels of another image than the one pasted into.
    """

    def __init__(
        self,
        prob: float = 0.5,
        max_num: int = 10,
        scale: tuple[float, float] = (0.8, 1.25),
        flip_prob: float = 0.0,
        least_visible: float = 0.3,
        place: str = "random",
    ) -> None:
        for name, share in (("prob", prob), ("flip_prob", flip_prob)):
            if not 0 <= share <= 1:
                raise UserError(f"InstanceCopyPaste({name}={share}): it must be from 0 to 1.")
        if not 0 < least_visible <= 1:
            raise UserError(
                f"InstanceCopyPaste(least_visible={least_visible}): it must be above 0 and "
                "at most 1."
            )
        if max_num < 1 or not 0 < scale[0] <= scale[1]:
            raise UserError(
                f"InstanceCopyPaste(max_num={max_num}, scale={tuple(scale)}): max_num must "
                "be at least 1, and scale (low, high) with 0 < low <= high."
            )
        if place not in PLACES:
            raise UserError(f"InstanceCopyPaste(place={place!r}): it must be one of {PLACES}.")
        self.prob, self.max_num, self.flip_prob = prob, max_num, flip_prob
        self.scale = (float(scale[0]), float(scale[1]))
        self.least_visible, self.place = least_visible, place

    @cache_randomness
    def get_indexes(self, dataset) -> int:
        """The image that a MultiImageMixDataset loads for the objects."""
        return int(np.random.randint(0, len(dataset)))

    def transform(self, results: dict) -> dict:
        """Paste objects over ``img``, and bring all ground truth in step."""
        source = results["mix_results"][0] if results.get("mix_results") else results
        for image in (results, source):
            _check(image)
        objects = self._draw(source, results["img"].shape)
        if objects:
            paste(results, objects, self.least_visible)
        return results

    def _draw(self, source: dict, shape: tuple[int, ...]) -> list[PastedObject]:
        """Objects of an image, moved to their places in an image of ``shape``."""
        if np.random.rand() >= self.prob:
            return []
        masks, flags = source["gt_masks"], source.get("gt_ignore_flags")
        usable = np.array([not flag for flag in ignored(flags, len(masks))], bool)
        if isinstance(masks, GeometryMasks):
            usable &= masks.known
        rows = np.flatnonzero(usable)
        if not len(rows):
            return []
        count = int(np.random.randint(1, min(self.max_num, len(rows)) + 1))
        chosen = np.random.choice(rows, count, replace=False)
        drawn = [self._moved(source, int(row), shape) for row in chosen]
        return [one for one in drawn if one is not None]

    def _moved(self, source: dict, row: int, shape: tuple[int, ...]) -> PastedObject | None:
        """One object, scaled, mirrored and placed; None where nothing of it is left."""
        # 1. random numbers are drawn in any case, so that each object takes as many
        low, high = np.log(self.scale)
        factor = float(np.exp(np.random.uniform(low, high)))
        flipped = bool(np.random.rand() < self.flip_prob)
        where = np.random.rand(2)
        mask = source["gt_masks"][[row]].to_ndarray()[0].astype(bool)
        if not mask.any():
            return None
        # 2. the rectangle around it
        ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        x1, y1, x2, y2 = int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1
        pixels, mask = source["img"][y1:y2, x1:x2], mask[y1:y2, x1:x2]
        # 3. its new size, and sides exchanged
        size = (max(1, round((x2 - x1) * factor)), max(1, round((y2 - y1) * factor)))
        scale = np.array([size[0] / (x2 - x1), size[1] / (y2 - y1)])
        if size != (x2 - x1, y2 - y1):
            channels = pixels.shape[2:]
            pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
            pixels = pixels.reshape(*pixels.shape[:2], *channels)
            mask = cv2.resize(mask.astype(np.float32), size) >= 0.5
        if flipped:
            pixels, mask = pixels[:, ::-1], mask[:, ::-1]
        # 4. its place, and the matrix (3, 3) from the source to there
        room = np.array([shape[1] - size[0], shape[0] - size[1]])
        if self.place == "same":
            middle = np.array([x1 + x2, y1 + y2]) / 2
            corner = np.round(middle - np.array(size) / 2).astype(int)
        else:  # one that is larger than the image sticks out on both sides
            corner = np.floor(np.minimum(room, 0) + where * (np.abs(room) + 1)).astype(int)
        matrix = np.array(
            [[scale[0], 0, corner[0] - scale[0] * x1], [0, scale[1], corner[1] - scale[1] * y1],
             [0, 0, 1]]
        )  # fmt: skip
        if flipped:
            matrix = np.array([[-1, 0, 2 * corner[0] + size[0]], [0, 1, 0], [0, 0, 1]]) @ matrix
        # 5. what is inside of the image
        begin = np.maximum(-corner, 0)
        end = np.minimum(np.array(size), np.array([shape[1], shape[0]]) - corner)
        if (end <= begin).any():
            return None
        part = slice(begin[1], end[1]), slice(begin[0], end[0])
        keypoints = source.get("gt_keypoints")
        if keypoints is not None:
            flip_indices = source["keypoint_flip_indices"]
            size_of_image = (shape[0], shape[1])
            keypoints = move_keypoints(keypoints[[row]], matrix, size_of_image, flip_indices)[0]
        inside = np.ascontiguousarray(mask[part])
        if not inside.any():
            return None
        at = corner + begin
        return PastedObject(
            np.ascontiguousarray(pixels[part]),
            inside,
            (int(at[0]), int(at[1])),
            int(source["gt_bboxes_labels"][row]),
            keypoints,
        )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(prob={self.prob}, max_num={self.max_num}, scale={self.scale}, "
            f"flip_prob={self.flip_prob}, least_visible={self.least_visible}, "
            f"place={self.place!r})"
        )


def _check(results: dict) -> None:
    """Check that an image has masks that objects can be cut out with.

    Raises:
        UserError: it has none, or has polygons alone.
    """
    masks = results.get("gt_masks")
    where = results.get("img_path") or f"image {results.get('img_id')}"
    if not isinstance(masks, BitmapMasks):
        what = "no masks" if masks is None else "polygons (poly2mask=False)"
        raise UserError(
            f"InstanceCopyPaste needs masks to cut objects out, but {where} has {what}: "
            "put LoadInstanceAnnotations(with_mask=True) before it."
        )
    boxes = results.get("gt_bboxes")
    if not isinstance(boxes, np.ndarray | HorizontalBoxes):
        raise UserError(
            f"InstanceCopyPaste needs boxes as x1, y1, x2, y2, not {type(boxes).__name__}."
        )
    if (masks.height, masks.width) != results["img"].shape[:2]:
        raise UserError(
            f"InstanceCopyPaste: the masks of {where} have (height, width) "
            f"{(masks.height, masks.width)}, its image has {results['img'].shape[:2]}: "
            "load annotations before the image is resized."
        )
    if results.get("gt_keypoints") is not None:
        check_in_step(results)

"""Test-time augmentation of boxes, masks and keypoints over flips and scales.

Symbols: A augmented forms of an image, D merged detections, K keypoints, m x m masks, S x S
heatmaps.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from mmdet.models.test_time_augs import DetTTAModel
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.structures.bbox import bbox2roi, bbox_flip
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_maskr.coco.keypoint_meta import flip_indices
from mmdet_maskr.errors import UserError
from mmdet_maskr.models.mask_heads import ComposedMaskHead
from mmdet_maskr.models.mask_heads.paste import paste, size_of
from mmdet_maskr.models.roi_heads import ParallelRoIHead

FLIPPED_DIMS = {"horizontal": (-1,), "vertical": (-2,), "diagonal": (-2, -1)}


@MODELS.register_module()
class InstanceTTAModel(DetTTAModel):
    """Averages a Mask R-CNN over flipped and resized forms of each image.

    Boxes of all forms are merged by NMS, as in mmdet's DetTTAModel. Masks and keypoints are then
    computed for the merged boxes on the features of every form, and averaged before anything is
    decoded: mask probabilities as in Detectron2, keypoint logits as in Detectron. mmdet refuses
    masks, Detectron2 keypoints.

    Args:
        tta_cfg: ``nms`` and ``max_per_img`` of the merged boxes; by default those of the detector's
            ``test_cfg.rcnn``.
        **kwargs: ``module``, the detector or its config.

    Raises:
        UserError: the detector has another RoI head than ParallelRoIHead, or another mask head
            than ComposedMaskHead.
    """

    def __init__(self, tta_cfg: dict | None = None, **kwargs) -> None:
        super().__init__(**kwargs)
        roi_head = getattr(self.module, "roi_head", None)
        if not isinstance(roi_head, ParallelRoIHead):
            raise UserError(
                "InstanceTTAModel needs a two-stage detector with roi_head.type='ParallelRoIHead', "
                f"not {type(self.module).__name__} with {type(roi_head).__name__}."
            )
        if roi_head.with_mask and not isinstance(roi_head.mask_head, ComposedMaskHead):
            raise UserError(
                "InstanceTTAModel needs roi_head.mask_head.type='ComposedMaskHead', not "
                f"{type(roi_head.mask_head).__name__}."
            )
        own = {name: roi_head.test_cfg[name] for name in ("nms", "max_per_img")}
        self.tta_cfg = ConfigDict(own | dict(tta_cfg or {}))

    @property
    def roi_head(self) -> ParallelRoIHead:
        """The detector's RoI head."""
        return self.module.roi_head

    @torch.no_grad()
    def test_step(self, data: dict) -> SampleList:
        """Merged predictions of a batch whose values are lists over the A forms of its images.

        Args:
            data: ``inputs`` and ``data_samples``, each a list of A batches.

        Returns:
            For each image a data sample with ``pred_instances`` in pixels of the original image.
        """
        features, samples = [], []
        for form in range(len(data["inputs"])):
            batch = self.module.data_preprocessor(
                {key: value[form] for key, value in data.items()}, False
            )
            features.append(self.module.extract_feat(batch["inputs"]))
            samples.append(self._predict_boxes(features[-1], batch["data_samples"]))
        merged = self.merge_preds(list(zip(*samples, strict=True)))
        metas = [[sample.metainfo for sample in form] for form in samples]
        results = [sample.pred_instances for sample in merged]
        if self.roi_head.with_mask:
            self._predict_masks(features, metas, results)
        if self.roi_head.with_keypoint:
            self._predict_keypoints(features, metas, results)
        return merged

    def _predict_boxes(self, x: tuple[Tensor], batch_data_samples: SampleList) -> SampleList:
        """Boxes of one form of each image, in pixels of the original image, flipped as it is."""
        proposals = self.module.rpn_head.predict(x, batch_data_samples, rescale=False)
        metas = [sample.metainfo for sample in batch_data_samples]
        results = self.roi_head.predict_bbox(
            x, metas, proposals, rcnn_test_cfg=self.roi_head.test_cfg, rescale=True
        )
        return self.module.add_pred_to_datasample(batch_data_samples, results)

    def _rois(self, metas: list[dict], results: list[InstanceData]) -> Tensor:
        """RoIs (N, 5) of merged boxes on one form of the images."""
        boxes = []
        for meta, found in zip(metas, results, strict=True):
            box = found.bboxes * found.bboxes.new_tensor(meta["scale_factor"]).repeat(2)
            if meta.get("flip", False):
                box = bbox_flip(box, meta["img_shape"], meta["flip_direction"])
            boxes.append(box)
        return bbox2roi(boxes)

    def _predict_masks(
        self, features: list[tuple[Tensor]], metas: list[list[dict]], results: list[InstanceData]
    ) -> None:
        """Set ``masks`` of each image: the mean of the forms' probabilities."""
        labels = torch.cat([found.labels for found in results])

        def masks_of(x: tuple[Tensor], rois: Tensor) -> Tensor:
            logits = self.roi_head._mask_forward(x, rois, labels=labels)["mask_preds"]
            return self.roi_head.mask_head.predictor.probabilities(logits, labels)

        means = self._mean(masks_of, features, metas, results)
        for found, masks, meta in zip(results, means, metas[0], strict=True):
            size = size_of(meta, rescale=True)
            found.masks = paste(masks, found.bboxes, size, self.roi_head.test_cfg)

    def _predict_keypoints(
        self, features: list[tuple[Tensor]], metas: list[list[dict]], results: list[InstanceData]
    ) -> None:
        """Set ``keypoints`` and ``keypoint_scores`` of each image, of the mean of the logits."""
        head = self.roi_head.keypoint_head
        wanted = [found[head.has_keypoints(found.labels)] for found in results]
        means = self._mean(self.roi_head.keypoint_forward, features, metas, wanted, self._swaps)
        for found, chosen, logits in zip(results, wanted, means, strict=True):
            self.roi_head.set_keypoints(found, *head.codec.decode(logits, chosen.bboxes))

    def _mean(
        self,
        branch: Callable[[tuple[Tensor], Tensor], Tensor],
        features: list[tuple[Tensor]],
        metas: list[list[dict]],
        found: list[InstanceData],
        swaps_of: Callable[[dict], list[int] | None] = lambda meta: None,
    ) -> list[Tensor]:
        """Of each image the mean of what a branch gives for its D boxes on every form, (D, ...)."""
        counts = [len(own) for own in found]
        by_form = []
        for x, form in zip(features, metas, strict=True):
            parts = branch(x, self._rois(form, found)).split(counts)
            pairs = zip(parts, form, strict=True)
            by_form.append([_unflip(part, meta, swaps_of(meta)) for part, meta in pairs])
        return [sum(maps[1:], maps[0]) / len(maps) for maps in zip(*by_form, strict=True)]

    def _swaps(self, meta: dict) -> list[int] | None:
        """(K,) indices of the keypoints' mirror images, where the image is flipped.

        An inferencer's images say nothing of keypoints; then those of ``dataset_meta`` are taken.
        """
        if not meta.get("flip", False):
            return None
        if "keypoint_flip_indices" in meta:
            return list(meta["keypoint_flip_indices"])
        dataset_meta = getattr(self, "dataset_meta", None) or {}
        if "keypoints" not in dataset_meta:
            raise UserError(
                "test-time flips of keypoints need 'keypoint_flip_indices' among the meta_keys of "
                "PackKeypointInputs in tta_pipeline."
            )
        return flip_indices(dataset_meta)


def _unflip(maps: Tensor, meta: dict, swaps: list[int] | None = None) -> Tensor:
    """Maps (D, ..., h, w) as of the image that is not flipped; channels swapped where mirrored."""
    if not meta.get("flip", False):
        return maps
    direction = meta["flip_direction"]
    if swaps is not None and direction != "diagonal":  # a turn by 180 degrees keeps the sides
        maps = maps[:, swaps]
    return maps.flip(FLIPPED_DIMS[direction])

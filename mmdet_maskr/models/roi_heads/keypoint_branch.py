"""The keypoint branch of the RoI head: its RoIs, loss and predictions."""

from __future__ import annotations

from typing import Any

import torch
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox2roi
from mmdet.utils import ConfigType, InstanceList, OptConfigType
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmdet_maskr.errors import UserError
from mmdet_maskr.ops.constants import constant


class KeypointBranch:
    """Methods that add a keypoint branch to a RoI head.

    Without its own RoI extractor, the branch uses that of the box branch.
    """

    # the RoI head's
    bbox_roi_extractor: nn.Module
    with_shared_head: bool
    shared_head: nn.Module
    bbox_sampler: Any

    def init_keypoint_head(
        self, keypoint_roi_extractor: OptConfigType, keypoint_head: ConfigType
    ) -> None:
        """Build the head and the RoI extractor.

        Raises:
            UserError: the loss normalizer needs a number that the sampler does not have.
        """
        if keypoint_roi_extractor is not None:
            self.keypoint_roi_extractor = MODELS.build(keypoint_roi_extractor)
        self.keypoint_head = MODELS.build(keypoint_head)
        sampler = self.bbox_sampler  # None in a model that is not trained
        fixed = self.keypoint_head.loss_normalizer == "fixed"
        if fixed and sampler is not None and not hasattr(sampler, "pos_fraction"):
            raise UserError(
                "keypoint_head.loss_normalizer='fixed' needs a sampler with num and pos_fraction, "
                f"not train_cfg.rcnn.sampler.type={type(sampler).__name__!r}: set "
                "loss_normalizer='visible', or another sampler."
            )

    @property
    def with_keypoint(self) -> bool:
        """Whether there is a keypoint branch."""
        return getattr(self, "keypoint_head", None) is not None

    @property
    def keypoint_extractor(self) -> nn.Module:
        """The RoI extractor that the branch uses."""
        return getattr(self, "keypoint_roi_extractor", self.bbox_roi_extractor)

    def keypoint_forward(self, x: tuple[Tensor], rois: Tensor) -> Tensor:
        """Heatmap logits (N, K, S, S), float32, of RoIs (N, 5)."""
        extractor = self.keypoint_extractor
        feats = extractor(x[: extractor.num_inputs], rois)
        if self.with_shared_head:
            feats = self.shared_head(feats)
        return self.keypoint_head(feats).float()

    def keypoint_loss(
        self,
        x: tuple[Tensor],
        sampling_results: list[SamplingResult],
        bbox_feats: Tensor,
        batch_gt_instances: InstanceList,
    ) -> dict:
        """Loss of the positive RoIs that have a labeled keypoint inside them.

        RoIs of other classes have none and cost nothing here.

        Args:
            x: feature maps, each (B, C, H_l, W_l).
            sampling_results: the sampled RoIs of each image.
            bbox_feats: not used.
            batch_gt_instances: ground truth of each image, with ``keypoints`` (G, K, 3): x, y in
                pixels of the network's input, visibility.

        Returns:
            The dictionary ``loss_keypoint``.

        Raises:
            UserError: the ground truth has no keypoints, or another K.
        """
        head = self.keypoint_head
        rois, keypoints, valid = [], [], []
        for i, (result, truth) in enumerate(zip(sampling_results, batch_gt_instances, strict=True)):
            boxes = result.pos_priors
            found = _keypoints_of(truth, head.num_keypoints)[result.pos_assigned_gt_inds]
            counts = head.codec.valid(found, boxes)
            counts &= head.has_keypoints(result.pos_gt_labels)[:, None]
            chosen = counts.any(1)
            rois.append(torch.cat([boxes.new_full((len(boxes), 1), i), boxes], dim=1)[chosen])
            keypoints.append(found[chosen])
            valid.append(counts[chosen])
        rois, keypoints, valid = map(torch.cat, (rois, keypoints, valid))
        logits = self.keypoint_forward(x, rois)
        cells = head.codec.encode(keypoints, rois[:, 1:], logits.shape[-1])
        full_count = None
        if head.loss_normalizer == "fixed":
            sampler = self.bbox_sampler
            positive = len(sampling_results) * sampler.num * sampler.pos_fraction
            full_count = positive * head.num_keypoints
        return dict(loss_keypoint=dict(loss_keypoint=head.loss(logits, cells, valid, full_count)))

    def predict_keypoint(
        self,
        x: tuple[Tensor],
        batch_img_metas: list[dict],
        results_list: InstanceList,
        rescale: bool = False,
    ) -> InstanceList:
        """Keypoints of the kept detections, decoded in the pixels of the network's input.

        Args:
            x: feature maps, each (B, C, H_l, W_l).
            batch_img_metas: for each image ``scale_factor``.
            results_list: for each image ``bboxes`` (D, 4) in pixels of the network's input and
                ``labels`` (D,).
            rescale: give keypoints in pixels of the original image.

        Returns:
            ``results_list`` with ``keypoints`` (D, K, 2) and ``keypoint_scores`` (D, K); both are
            zeros for detections of classes without keypoints.
        """
        head = self.keypoint_head
        boxes = [results.bboxes for results in results_list]
        if head.keypoint_labels is not None:
            boxes = [results.bboxes[head.has_keypoints(results.labels)] for results in results_list]
        logits = self.keypoint_forward(x, bbox2roi(boxes))
        points, scores = head.codec.decode(logits, torch.cat(boxes))
        counts = [len(box) for box in boxes]
        for results, meta, found, score in zip(
            results_list, batch_img_metas, points.split(counts), scores.split(counts), strict=True
        ):
            if rescale:
                found = found / constant(meta["scale_factor"], found)
            self.set_keypoints(results, found, score)
        return results_list

    def set_keypoints(self, results: InstanceData, points: Tensor, scores: Tensor) -> None:
        """Give detections their ``keypoints`` and ``keypoint_scores``.

        Args:
            results: D detections with ``labels``; those of classes without keypoints get zeros.
            points: (P, K, 2) of the P others, in their order.
            scores: (P, K).
        """
        if self.keypoint_head.keypoint_labels is None:
            results.set_field(points, "keypoints")
            results.set_field(scores, "keypoint_scores")
            return
        chosen = self.keypoint_head.has_keypoints(results.labels)
        for name, values in (("keypoints", points), ("keypoint_scores", scores)):
            everything = values.new_zeros(len(results), *values.shape[1:])
            everything[chosen] = values
            results.set_field(everything, name)


def _keypoints_of(truth: InstanceData, num_keypoints: int) -> Tensor:
    if "keypoints" not in truth:
        raise UserError(
            "the model has a keypoint head, but its ground truth has no keypoints: use "
            "CocoKeypointDataset (or CocoJointDataset), LoadKeypointAnnotations and "
            "PackKeypointInputs."
        )
    if truth.keypoints.shape[1] != num_keypoints:
        raise UserError(
            f"roi_head.keypoint_head.num_keypoints={num_keypoints}, but the dataset has "
            f"{truth.keypoints.shape[1]} keypoints: set one to the other."
        )
    return truth.keypoints

"""Box, mask and other branches in parallel on each RoI (He et al. 2017, section 3)."""

from __future__ import annotations

from typing import cast

import torch
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.models.utils import unpack_gt_instances
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.structures.bbox import bbox2roi
from mmdet.utils import ConfigType, InstanceList, OptConfigType
from torch import Tensor, nn

from mmdet_maskr import conventions
from mmdet_maskr.errors import UserError
from mmdet_maskr.models.mask_heads import ComposedMaskHead
from mmdet_maskr.models.mask_heads.mask_head import check_rle
from mmdet_maskr.models.mask_heads.paste import paste, size_of
from mmdet_maskr.models.roi_heads import box_loss, device_detections, device_samples
from mmdet_maskr.models.roi_heads.detections import in_float32, predict_boxes
from mmdet_maskr.models.roi_heads.keypoint_branch import KeypointBranch
from mmdet_maskr.models.task_modules.matching import assign
from mmdet_maskr.ops.boxes import rescaled, rois_of
from mmdet_maskr.ops.late_checks import late_checks
from mmdet_maskr.ops.padding import first_rows, with_rows

# RoIs whose masks are computed at a time when testing; a photo of COCO has at most 100 detections
ROIS_AT_ONCE = 100
ROIS_AT_ONCE_ON_GPU = 1000


@MODELS.register_module()
class ParallelRoIHead(KeypointBranch, StandardRoIHead):
    """RoI head whose branches run in parallel: box, and any of mask and keypoint.

    The box branch classifies and refines each RoI. An instance branch then works on positive RoIs
    when training and on the kept detections when testing, without seeing the other branches. For a
    branch NAME the head has ``with_NAME``, ``NAME_loss`` and ``predict_NAME``, which adds to the
    detections and leaves their boxes as they are; adding one changes neither :meth:`loss` nor
    :meth:`predict`.

    It has StandardRoIHead's options and parameter names, so mmdet's Mask R-CNN checkpoints load
    unchanged. Additional options:

    Args:
        keypoint_head: config of the keypoint head; None for no keypoints.
        keypoint_roi_extractor: config of its RoI extractor; None to use the box branch's.

    With ``train_cfg.rcnn.pad_rois=n``, box and mask heads train on a multiple of n RoIs. The
    padding is empty RoIs that no loss uses. This gives few shapes, as :class:`.CompileHook` needs.

    With ``test_cfg.rcnn.convention='detectron2'`` or ``'torchvision'``, detections are the same as
    in these codebases, see :mod:`mmdet_maskr.conventions`.

    Raises:
        UserError: there is no ``bbox_head``, whose boxes all other branches need; the mask head
            does not support the mask size; ``test_cfg.mask_output`` or ``convention`` is unknown;
            the convention does not support the options of NMS; ``pad_rois`` is not positive, or a
            head has batch normalization, whose statistics the empty RoIs would change.
    """

    instance_branches: tuple[str, ...] = ("mask", "keypoint")

    def __init__(
        self,
        *args,
        bbox_head: ConfigType | None = None,
        keypoint_roi_extractor: OptConfigType = None,
        keypoint_head: OptConfigType = None,
        **kwargs,
    ) -> None:
        if bbox_head is None:
            raise UserError(
                "ParallelRoIHead needs roi_head.bbox_head, because the other branches work on "
                "its boxes. For proposals only, use mmdet's RPN detector."
            )
        super().__init__(*args, bbox_head=bbox_head, **kwargs)
        conventions.of_test_cfg("test_cfg.rcnn", self.test_cfg)
        self.pad_rois = (self.train_cfg or {}).get("pad_rois")
        if self.pad_rois is not None:
            self._check_pad_rois()
        if self.with_mask:
            self._check_mask_options()
        if keypoint_head is not None:
            self.init_keypoint_head(keypoint_roi_extractor, keypoint_head)
        elif keypoint_roi_extractor is not None:
            raise UserError(
                "roi_head.keypoint_roi_extractor is set, but roi_head.keypoint_head is not."
            )

    def _check_pad_rois(self) -> None:
        step = self.pad_rois
        if type(step) is not int or step < 1:
            raise UserError(f"train_cfg.rcnn.pad_rois={step!r} must be a number of RoIs from 1 on.")
        if not box_loss.suits(self.bbox_head):
            raise UserError(
                f"train_cfg.rcnn.pad_rois does not work with {type(self.bbox_head).__name__}, "
                "which has its own losses."
            )
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                raise UserError(
                    "train_cfg.rcnn.pad_rois does not work with batch norm in roi_head: empty RoIs "
                    "would be in its statistics. Use norm_cfg=dict(type='GN', num_groups=32)."
                )

    def _check_mask_options(self) -> None:
        """Check what the mask branch is asked for against what it gives, before any training.

        Raises:
            UserError: a mask size that the head cannot give, an unknown or unsupported mask_output.
        """
        check_rle(self.mask_head, self.test_cfg)
        if isinstance(self.mask_head, ComposedMaskHead):
            if self.with_shared_head:  # it may change the resolution
                size = self.mask_head.roi_feat_size
            else:
                size = _output_size(self.mask_roi_extractor)
            if size is not None:
                wanted = None if self.train_cfg is None else self.train_cfg.get("mask_size")
                self.mask_head.check_sizes(size, wanted)

    @property
    def active_branches(self) -> list[str]:
        """Names of the instance branches that this model has."""
        return [name for name in self.instance_branches if getattr(self, f"with_{name}")]

    def forward(
        self,
        x: tuple[Tensor],
        rpn_results_list: InstanceList,
        batch_data_samples: SampleList | None = None,
    ) -> tuple:
        """mmdet's raw outputs, and heatmap logits of the RoIs that its mask branch sees too.

        Args:
            x: feature maps, each (B, C, H_l, W_l).
            rpn_results_list: for each image the proposals in pixels of the network's input.
            batch_data_samples: for the images' meta information.

        Returns:
            mmdet's outputs, and (N, K, S, S) logits of the first N <= 100 proposals.
        """
        results = super().forward(x, rpn_results_list, batch_data_samples)
        if self.with_keypoint:
            rois = bbox2roi([proposals.bboxes for proposals in rpn_results_list])[:100]
            results = (*results, self.keypoint_forward(x, rois))
        return results

    def loss(
        self, x: tuple[Tensor], rpn_results_list: InstanceList, batch_data_samples: SampleList
    ) -> dict[str, Tensor]:
        """Losses of all branches, to be summed 1:1:1.

        Args:
            x: feature maps, each (B, C, H_l, W_l).
            rpn_results_list: for each of B images the proposals, ``bboxes`` (P, 4) in pixels of the
                network's input.
            batch_data_samples: for each image ``gt_instances`` and ``ignored_instances``.

        Returns:
            The losses by name. All of them depend on the parameters of their branch, also where an
            image has no ground truth, so that distributed training never waits for a gradient.
        """
        gt_instances, ignored_instances, _ = unpack_gt_instances(batch_data_samples)
        with late_checks():
            sampling_results = self._sample(x, rpn_results_list, gt_instances, ignored_instances)
            bbox_results = self.bbox_loss(x, sampling_results)
            losses = dict(bbox_results["loss_bbox"])
            for name in self.active_branches:
                branch_loss = getattr(self, f"{name}_loss")
                results = branch_loss(x, sampling_results, bbox_results["bbox_feats"], gt_instances)
                losses.update(results[f"loss_{name}"])
        return losses

    def bbox_loss(self, x: tuple[Tensor], sampling_results: list[SamplingResult]) -> dict:
        """mmdet's box loss, without a GPU synchronization for mmdet's usual heads."""
        if not box_loss.suits(self.bbox_head):
            return super().bbox_loss(x, sampling_results)
        rois = rois_of([[result.pos_priors, result.neg_priors] for result in sampling_results])
        results = first_rows(self._bbox_forward(x, self._padded(rois)), len(rois))
        losses = box_loss.box_losses(
            self.bbox_head,
            results["cls_score"],
            results["bbox_pred"],
            sampling_results,
            self.train_cfg,
        )
        return dict(results, loss_bbox=losses)

    def _padded(self, rois: Tensor) -> Tensor:
        """RoIs (N, 5), in training with empty ones of the first image as ``pad_rois`` says."""
        if self.pad_rois is None or not self.training:
            return rois
        return with_rows(rois, -(-max(len(rois), 1) // self.pad_rois) * self.pad_rois)

    def _sample(
        self,
        x: tuple[Tensor],
        rpn_results_list: InstanceList,
        gt_instances: InstanceList,
        ignored_instances: InstanceList,
    ) -> list[SamplingResult]:
        """Match proposals with ground truth and draw the RoIs to train on.

        On a GPU mmdet's usual assigner and sampler work on all images together; else image by
        image, and they see scores and labels too. As with mmdet's RoI heads, ``bboxes`` of the
        caller's proposals are named ``priors`` afterwards: trackers read them there.
        """
        for proposals in rpn_results_list:
            proposals.priors = proposals.pop("bboxes")
        priors = [proposals.priors for proposals in rpn_results_list]
        boxes = [*priors, *(truth.bboxes for truth in gt_instances)]
        if device_samples.suits(self.bbox_assigner, self.bbox_sampler, boxes):
            return device_samples.sample(
                self.bbox_assigner, self.bbox_sampler, priors, gt_instances, ignored_instances
            )
        sampling_results = []
        for i, proposals in enumerate(rpn_results_list):
            assigned = assign(self.bbox_assigner, proposals, gt_instances[i], ignored_instances[i])
            feats = [level[i][None] for level in x]
            sampling_results.append(
                self.bbox_sampler.sample(assigned, proposals, gt_instances[i], feats=feats)
            )
        return sampling_results

    def _bbox_forward(self, x: tuple[Tensor], rois: Tensor) -> dict[str, Tensor]:
        """mmdet's, in float32."""
        return in_float32(super()._bbox_forward(x, rois))

    def predict_bbox(
        self,
        x: tuple[Tensor],
        batch_img_metas: list[dict],
        rpn_results_list: InstanceList,
        rcnn_test_cfg: ConfigType,
        rescale: bool = False,
    ) -> InstanceList:
        """mmdet's, or the detections of a convention; see :func:`.detections.predict_boxes`."""
        convention = conventions.of_test_cfg("test_cfg.rcnn", rcnn_test_cfg)
        by_mmdet = not rescale and not convention.chooses
        if by_mmdet and device_detections.suits(self.bbox_head, rcnn_test_cfg, x[0].device):
            return self._predict_on_device(x, batch_img_metas, rpn_results_list, rcnn_test_cfg)
        args = (x, batch_img_metas, rpn_results_list, rcnn_test_cfg, rescale)
        return predict_boxes(super().predict_bbox, self.bbox_head, *args)

    def _predict_on_device(
        self,
        x: tuple[Tensor],
        batch_img_metas: list[dict],
        rpn_results_list: InstanceList,
        rcnn_test_cfg: ConfigType,
    ) -> InstanceList:
        """mmdet's detections, see :mod:`.device_detections`."""
        rois = bbox2roi([proposals.bboxes for proposals in rpn_results_list])
        if len(rois) == 0:
            return super().predict_bbox(x, batch_img_metas, rpn_results_list, rcnn_test_cfg)
        results = self._bbox_forward(x, rois)
        counts = [len(proposals) for proposals in rpn_results_list]
        parts = zip(
            rois.split(counts),
            results["cls_score"].split(counts),
            results["bbox_pred"].split(counts),
            batch_img_metas,
            strict=True,
        )
        return [
            device_detections.detections(
                self.bbox_head, own, logits, deltas, meta["img_shape"], rcnn_test_cfg
            )
            for own, logits, deltas, meta in parts
        ]

    def _mask_forward(
        self,
        x: tuple[Tensor],
        rois: Tensor | None = None,
        pos_inds: Tensor | None = None,
        bbox_feats: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """mmdet's, with mask logits in float32 under mixed precision too.

        Args:
            x: feature maps, each (B, C, H_l, W_l).
            rois: (N, 5) image index and box, or:
            pos_inds: which of ``bbox_feats`` to take.
            bbox_feats: RoI features that the mask branch shares with the box branch.
            labels: (N,) the class of each RoI; a head that can then computes its mask only.

        Returns:
            ``mask_preds`` (N, K or 1, m, m) and ``mask_feats``.
        """
        if rois is not None:
            mask_feats = self.mask_roi_extractor(x[: self.mask_roi_extractor.num_inputs], rois)
            if self.with_shared_head:
                mask_feats = self.shared_head(mask_feats)
        else:
            mask_feats = cast(Tensor, bbox_feats)[pos_inds]
        if labels is not None and isinstance(self.mask_head, ComposedMaskHead):
            mask_preds = self.mask_head(mask_feats, labels)
        else:
            mask_preds = self.mask_head(mask_feats)
        return dict(mask_preds=mask_preds.float(), mask_feats=mask_feats)

    def mask_loss(
        self,
        x: tuple[Tensor],
        sampling_results: list[SamplingResult],
        bbox_feats: Tensor,
        batch_gt_instances: InstanceList,
    ) -> dict:
        """Forward the positive RoIs through the mask branch and compute its loss.

        Args:
            x: feature maps, each (B, C, H_l, W_l).
            sampling_results: the sampled RoIs of each image, positives first.
            bbox_feats: (N, C', h, w) features of all sampled RoIs, which a mask branch without RoI
                extractor of its own shares.
            batch_gt_instances: ground truth of each image, with ``masks``.

        Returns:
            ``mask_preds``, ``mask_feats`` and the dictionary ``loss_mask``.
        """
        labels = torch.cat([result.pos_gt_labels for result in sampling_results])
        if self.share_roi_extractor:
            is_positive = torch.cat(
                [
                    torch.arange(len(result.priors), device=bbox_feats.device)
                    < len(result.pos_priors)
                    for result in sampling_results
                ]
            )
            mask_results = self._mask_forward(
                x, pos_inds=is_positive, bbox_feats=bbox_feats, labels=labels
            )
        else:
            rois = rois_of([[result.pos_priors] for result in sampling_results])
            padded_rois = self._padded(rois)
            padded_labels = with_rows(labels, len(padded_rois))
            mask_results = self._mask_forward(x, padded_rois, labels=padded_labels)
            mask_results = first_rows(mask_results, len(rois))
        loss_and_target = self.mask_head.loss_and_target(
            mask_preds=mask_results["mask_preds"],
            sampling_results=sampling_results,
            batch_gt_instances=batch_gt_instances,
            rcnn_train_cfg=self.train_cfg,
        )
        mask_results.update(loss_mask=loss_and_target["loss_mask"])
        return mask_results

    def predict_mask(
        self,
        x: tuple[Tensor],
        batch_img_metas: list[dict],
        results_list: InstanceList,
        rescale: bool = False,
    ) -> InstanceList:
        """Masks of the kept detections, computed for their class only where the head can.

        Args:
            x: feature maps, each (B, C, H_l, W_l).
            batch_img_metas: for each image its meta information.
            results_list: for each image ``bboxes`` (D, 4) in pixels of the network's input and
                ``labels`` (D,).
            rescale: give masks in pixels of the original image.

        Returns:
            ``results_list`` with ``masks``: (D, H, W), or RLEMasks for
            ``test_cfg.mask_output='rle'``.
        """
        boxes = [results.bboxes for results in results_list]
        if not isinstance(self.mask_head, ComposedMaskHead):
            for results in results_list:
                results.bboxes = results.bboxes.clone()  # mmdet's heads rescale them in place
            results_list = super().predict_mask(x, batch_img_metas, results_list, rescale)
            for results, own in zip(results_list, boxes, strict=True):
                results.bboxes = own
            return results_list
        labels = torch.cat([results.labels for results in results_list])
        masks = self._probabilities(x, bbox2roi(boxes), labels)
        counts = [len(own) for own in boxes]
        for results, meta, own in zip(
            results_list, batch_img_metas, masks.split(counts), strict=True
        ):
            box = rescaled(results.bboxes, meta["scale_factor"]) if rescale else results.bboxes
            results.masks = paste(own, box, size_of(meta, rescale), self.test_cfg)
        return results_list

    def _probabilities(self, x: tuple[Tensor], rois: Tensor, labels: Tensor) -> Tensor:
        """(N, m, m) of the labels' masks, of some RoIs at a time.

        Features of a RoI are 14 x 14 and 28 x 28 floats of 256 channels, a megabyte: those of 300
        RoIs would take more than all else that a detection needs.
        """
        step = ROIS_AT_ONCE if rois.device.type == "cpu" else ROIS_AT_ONCE_ON_GPU
        parts = []
        for own, named in zip(rois.split(step), labels.split(step), strict=True):
            logits = self._mask_forward(x, own, labels=named)["mask_preds"]
            parts.append(self.mask_head.predictor.probabilities(logits, named))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def predict(
        self,
        x: tuple[Tensor],
        rpn_results_list: InstanceList,
        batch_data_samples: SampleList,
        rescale: bool = False,
    ) -> InstanceList:
        """Detect: boxes first, then every other branch on the kept boxes only.

        Args:
            x: feature maps, each (B, C, H_l, W_l).
            rpn_results_list: for each image the proposals in pixels of the network's input.
            batch_data_samples: for the images' meta information.
            rescale: give boxes and masks in pixels of the original image instead.

        Returns:
            For each image ``bboxes`` (D, 4) xyxy, ``scores`` (D,), ``labels`` (D,) and what the
            branches add, such as ``masks`` (D, H, W).
        """
        metas = [sample.metainfo for sample in batch_data_samples]
        with late_checks():
            results = self.predict_bbox(
                x, metas, rpn_results_list, rcnn_test_cfg=self.test_cfg, rescale=False
            )
            for name in self.active_branches:
                results = getattr(self, f"predict_{name}")(x, metas, results, rescale=rescale)
        if rescale:
            for result, meta in zip(results, metas, strict=True):
                result.bboxes = rescaled(result.bboxes, meta["scale_factor"])
        return results


def _output_size(roi_extractor: nn.Module) -> int | None:
    """Side of square RoI features in bins; None where the RoI layer does not tell."""
    for layer in roi_extractor.modules():
        size = getattr(layer, "output_size", None)
        if size is not None:
            pair = (size, size) if isinstance(size, int) else tuple(size)
            return int(pair[0]) if pair[0] == pair[1] else None
    return None

"""The region proposal network: exact with mixed precision, faster on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from mmcv.cnn import build_conv_layer
from mmdet.models.dense_heads import RPNHead
from mmdet.models.task_modules.samplers import PseudoSampler
from mmdet.models.utils import unpack_gt_instances
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.structures.bbox import get_box_tensor
from mmdet.utils import InstanceList, OptConfigType
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmdet_maskr import conventions
from mmdet_maskr.errors import UserError
from mmdet_maskr.models.dense_heads import device_losses, sampled_rows
from mmdet_maskr.models.dense_heads.anchor_grids import AnchorGrids
from mmdet_maskr.models.dense_heads.proposals import best_of_levels, joined
from mmdet_maskr.models.dense_heads.sampled_backward import hidden_and_outputs
from mmdet_maskr.models.dense_heads.sampled_losses import sampled_losses
from mmdet_maskr.models.dense_heads.sampled_rows import joined_outputs
from mmdet_maskr.models.task_modules.box_coding import decode
from mmdet_maskr.ops.boxes import rescaled
from mmdet_maskr.ops.nms import nms_of_batch, nms_per_level, plain_nms
from mmdet_maskr.tracing import is_traced

SPLIT_THRESHOLD = 10000  # from so many boxes on, mmcv's batched_nms goes level by level itself


@MODELS.register_module()
class SampledRPNHead(RPNHead):
    """mmdet's RPNHead, with float32 results for features of any dtype.

    Proposals are ranked by their logits. bfloat16 has only 8 significant bits, so most of thousands
    of logits would be ties, and mmcv's NMS has no bfloat16 kernel for CPUs. Options and parameters
    are those of RPNHead.

    Losses are computed only at the sampled anchors (:func:`.sampled_losses.sampled_losses`) and
    summed over levels. Proposals are selected for all images of a batch together. On a CPU, NMS
    runs separately for each pyramid level (:func:`nms_per_level`), with the same proposals in less
    time. Training on a CPU also computes gradients only at the sampled anchors
    (:mod:`.sampled_backward`): the same gradients, for a third of the head's work and without its
    activations in memory.

    With ``convention='detectron2'`` or ``'torchvision'`` in ``test_cfg.rpn`` or
    ``train_cfg.rpn_proposal``, proposals and their order are the same as in these codebases, see
    :mod:`mmdet_maskr.conventions`.

    Args:
        conv_cfg: type of the 3x3 convolution, as in mmcv's ConvModule; 'SeparableConv2d' needs a
            ninth of the operations.

    Raises:
        UserError: the convention is unknown, or does not support softmax or the options of NMS;
            ``conv_cfg`` is set with several convolutions.
    """

    def __init__(self, *args, conv_cfg: OptConfigType = None, **kwargs) -> None:
        self.conv_cfg = conv_cfg
        super().__init__(*args, **kwargs)
        if self.test_cfg is not None:
            self._convention(self.test_cfg)
        self.anchor_grids = AnchorGrids(self.prior_generator)

    def _init_layers(self) -> None:
        super()._init_layers()
        if self.conv_cfg is None:
            return
        if self.num_convs > 1:
            raise UserError(f"rpn_head.conv_cfg works only with num_convs=1, not {self.num_convs}.")
        self.rpn_conv = build_conv_layer(
            self.conv_cfg, self.in_channels, self.feat_channels, 3, padding=1
        )

    def _convention(self, cfg: ConfigDict) -> conventions.Convention:
        convention = conventions.of_test_cfg("rpn", cfg)
        if convention.ranks_logits and not self.use_sigmoid_cls:
            raise UserError(
                f"rpn.convention={convention.name!r} needs rpn_head.loss_cls.use_sigmoid=True."
            )
        return convention

    def forward_single(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, A, H, W) and box deltas (B, 4 A, H, W) of one level with A anchors a cell."""
        if self._samples(x):
            weights = self.rpn_conv.weight, self.rpn_conv.bias
            outputs = hidden_and_outputs(x, *weights, *joined_outputs(self))
            logits, deltas = self._split(outputs)
        else:
            logits, deltas = super().forward_single(x)
        return logits.float(), deltas.float()

    def _split(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, A, H, W) and deltas (B, 4 A, H, W) of both in a row."""
        logits, deltas = outputs.split([len(self.rpn_cls.weight), len(self.rpn_reg.weight)], 1)
        return logits, deltas

    def forward(self, x: tuple[Tensor, ...]) -> tuple[list[Tensor], list[Tensor]]:
        """Logits and deltas of all levels; on a GPU from one convolution, if possible.

        Args:
            x: for each level (B, C, H, W).

        Returns:
            For each level logits (B, A, H, W) and box deltas (B, 4 A, H, W) with A anchors a cell.
        """
        x = tuple(x)  # mmdet's takes any iterable
        if not self._is_plain_on_device(x):
            return super().forward(x)
        hidden = self.rpn_conv.weight, self.rpn_conv.bias
        if not torch.is_grad_enabled():
            # autocast would keep their half for the losses, without its gradients
            hidden = hidden[0].detach(), hidden[1].detach()
        last = joined_outputs(self)
        levels = [F.conv2d(F.relu(F.conv2d(own, *hidden, padding=1)), *last) for own in x]
        pairs = [self._split(own.float()) for own in levels]
        return [logits for logits, _ in pairs], [deltas for _, deltas in pairs]

    def _is_plain_on_device(self, x: tuple[Tensor, ...]) -> bool:
        """Whether one convolution gives logits and deltas, on a GPU."""
        return (
            x[0].device.type != "cpu"
            and self.num_convs == 1
            and not is_traced()
            and sampled_rows.suits(self)
        )

    def _samples(self, x: Tensor) -> bool:
        """Whether a loss will look at few cells of this level, and gradients are computed here."""
        return (
            self.training
            and torch.is_grad_enabled()
            and x.device.type == "cpu"
            and type(self.rpn_conv) is nn.Conv2d
            and self._has_sampler
            and not is_traced()
        )

    @property
    def _has_sampler(self) -> bool:
        return not isinstance(getattr(self, "sampler", None), (PseudoSampler, type(None)))

    def loss(self, x: tuple[Tensor, ...], batch_data_samples: SampleList) -> dict:
        """mmdet's; on a GPU with gradients at the sampled anchors alone."""
        return self._outputs_and_losses(x, batch_data_samples)[1]

    def loss_and_predict(
        self,
        x: tuple[Tensor, ...],
        batch_data_samples: SampleList,
        proposal_cfg: ConfigDict | None = None,
    ) -> tuple[dict, InstanceList]:
        """mmdet's; on a GPU with gradients at the sampled anchors alone."""
        outputs, losses = self._outputs_and_losses(x, batch_data_samples)
        metas = [sample.metainfo for sample in batch_data_samples]
        return losses, self.predict_by_feat(*outputs, batch_img_metas=metas, cfg=proposal_cfg)

    def _outputs_and_losses(
        self, x: tuple[Tensor, ...], batch_data_samples: SampleList
    ) -> tuple[tuple[list[Tensor], list[Tensor]], dict]:
        truths, ignored, metas = unpack_gt_instances(batch_data_samples)
        x = tuple(x)
        again = (
            torch.is_grad_enabled()
            and self._is_plain_on_device(x)
            and self._has_sampler
            and device_losses.suits(self, truths)
        )
        with torch.set_grad_enabled(torch.is_grad_enabled() and not again):
            logits, deltas = self(x)
        features = x if again else None
        losses = self.loss_by_feat(logits, deltas, truths, metas, ignored, features)
        return (logits, deltas), losses

    def loss_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        batch_gt_instances: list[InstanceData],
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: list[InstanceData] | None = None,
        features: Sequence[Tensor] | None = None,
    ) -> dict[str, Tensor | list[Tensor]]:
        """mmdet's losses; with a sampler, each is a list with one sum over all levels.

        Args:
            cls_scores, bbox_preds: of each level, as from :meth:`forward`.
            batch_gt_instances: of each image.
            batch_img_metas: of each image.
            batch_gt_instances_ignore: of each image, or None.
            features: what the outputs come from, where these have no gradients:
                :mod:`.sampled_rows` computes them again at the sampled anchors.
        """
        if not self._has_sampler:
            return super().loss_by_feat(
                cls_scores,
                bbox_preds,
                batch_gt_instances,
                batch_img_metas,
                batch_gt_instances_ignore,
            )
        loss_cls, loss_bbox, samples = sampled_losses(
            self,
            cls_scores,
            bbox_preds,
            batch_gt_instances,
            batch_img_metas,
            batch_gt_instances_ignore or [None] * len(batch_img_metas),
            features,
        )
        if samples is not None:
            self._raw_positive_infos.update(sampling_results=samples)
        return dict(loss_rpn_cls=[loss_cls], loss_rpn_bbox=[loss_bbox])

    def predict_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        score_factors: list[Tensor] | None = None,
        batch_img_metas: list[dict] | None = None,
        cfg: ConfigDict | None = None,
        rescale: bool = False,
        with_nms: bool = True,
    ) -> list[InstanceData]:
        """Proposals by the convention of ``cfg``, the images of a batch together until NMS."""
        cfg = self.test_cfg if cfg is None else cfg
        convention = self._convention(cfg)
        metas = cast(list[dict], batch_img_metas)  # mmdet's base class has None for others' sake
        sizes = [level.shape[2:] for level in cls_scores]
        anchors = self.anchor_grids.all_anchors(sizes, cls_scores[0])
        batch = len(metas)
        ranks, deltas, priors, level_ids = best_of_levels(
            self._all_ranks([level.detach() for level in cls_scores], convention.ranks_logits),
            [level.detach() for level in bbox_preds],
            anchors,
            cfg.get("nms_pre", -1),
            convention.best,
        )
        shapes = [tuple(meta["img_shape"]) for meta in metas]
        if not convention.chooses:
            boxes = self._decode(priors, deltas, shapes)
            if not rescale and with_nms and boxes.device.type != "cpu":
                found = self._proposals_on_device(boxes, ranks, level_ids, cfg)
                if found is not None:
                    return found
            return [
                self._bbox_post_process(
                    InstanceData(bboxes=boxes[i], scores=ranks[i], level_ids=level_ids),
                    cfg,
                    rescale,
                    with_nms,
                    meta,
                )
                for i, meta in enumerate(metas)
            ]
        clips = getattr(self.bbox_coder, "clip_border", True)
        boxes = self._decode(priors, deltas, [None] * batch)
        results = [
            convention.proposals(boxes[i], ranks[i], level_ids, shape if clips else None, cfg)
            for i, shape in enumerate(shapes)
        ]
        if rescale:
            for found, meta in zip(results, metas, strict=True):
                found.bboxes = rescaled(found.bboxes, meta["scale_factor"])
        return results

    def _all_ranks(self, levels: Sequence[Tensor], as_they_are: bool) -> Sequence[Tensor]:
        """:meth:`_ranks` of each level; a GPU takes all sigmoids together."""
        if as_they_are or not self.use_sigmoid_cls or levels[0].device.type == "cpu" or is_traced():
            return [self._ranks(level, as_they_are) for level in levels]
        counts = [own.shape[1:].numel() for own in levels]
        return joined(levels, 1).flatten(1).sigmoid().split(counts, 1)

    def _ranks(self, logits: Tensor, as_they_are: bool) -> Tensor:
        """(B, H W A) probabilities of an object, or logits, from logits of a level."""
        logits = logits.permute(0, 2, 3, 1)
        if self.use_sigmoid_cls:
            flat = logits.flatten(1)
            return flat if as_they_are else flat.sigmoid()
        return logits.reshape(len(logits), -1, self.cls_out_channels).softmax(-1)[..., 0]

    def _decode(
        self, priors: Tensor, deltas: Tensor, shapes: Sequence[tuple[int, ...] | None]
    ) -> Tensor:
        """Boxes (B, K, 4) from anchors and deltas, cut at their image's borders if given."""
        if len(set(shapes)) > 1:
            found = [
                decode(self.bbox_coder, boxes, moves, max_shape=shape)
                for boxes, moves, shape in zip(priors, deltas, shapes, strict=True)
            ]
            return torch.stack([get_box_tensor(boxes) for boxes in found])
        boxes = decode(
            self.bbox_coder, priors.flatten(0, 1), deltas.flatten(0, 1), max_shape=shapes[0]
        )
        return get_box_tensor(boxes).view(priors.shape)

    def _proposals_on_device(
        self, boxes: Tensor, ranks: Tensor, level_ids: Tensor, cfg: ConfigDict
    ) -> list[InstanceData] | None:
        """What :meth:`_bbox_post_process` gives, of all images together; None where it has to.

        Args:
            boxes: (B, K, 4).
            ranks: (B, K) scores.
            level_ids: (K,).
            cfg: options of the proposals.
        """
        threshold = self._threshold_by_level(boxes.shape[1], cfg)
        if threshold is None:
            return None
        # the small ones are not taken out, which would need their number
        large, smallest = None, cfg.get("min_bbox_size", -1)
        if smallest >= 0:
            large = ((boxes[..., 2:] - boxes[..., :2]) > smallest).all(-1)
        kept = nms_of_batch(boxes, ranks, level_ids, threshold, cfg.max_per_img, large)
        return [
            InstanceData(bboxes=own[keep], scores=scores[keep], labels=torch.zeros_like(keep))
            for own, scores, keep in zip(boxes, ranks, kept, strict=True)
        ]

    def _bbox_post_process(
        self,
        results: InstanceData,
        cfg: ConfigDict,
        rescale: bool = False,
        with_nms: bool = True,
        img_meta: dict | None = None,
    ) -> InstanceData:
        """mmdet's, with NMS by level where that gives the same."""
        iou_threshold = None
        if isinstance(results.bboxes, Tensor):
            iou_threshold = self._threshold_by_level(len(results), cfg)
        on_cpu = results.scores.device.type == "cpu"
        if rescale or not with_nms or iou_threshold is None or not on_cpu:
            return super()._bbox_post_process(results, cfg, rescale, with_nms, img_meta)
        boxes, scores, level_ids = results.bboxes, results.scores, results.level_ids
        large = None
        smallest = cfg.get("min_bbox_size", -1)
        if smallest >= 0:
            large = ((boxes[:, 2:] - boxes[:, :2]) > smallest).all(1)
        if large is not None and not large.all():
            boxes, scores, level_ids = boxes[large], scores[large], level_ids[large]
        if len(boxes) == 0:
            return super()._bbox_post_process(results, cfg, rescale, with_nms, img_meta)
        keep = nms_per_level(boxes, scores, level_ids, iou_threshold, cfg.max_per_img)
        return InstanceData(bboxes=boxes[keep], scores=scores[keep], labels=torch.zeros_like(keep))

    @staticmethod
    def _threshold_by_level(count: int, cfg: ConfigDict) -> float | None:
        """The IoU threshold, where NMS by level gives the same and mmcv does not do it anyway.

        Args:
            count: boxes of an image.
            cfg: ``nms`` and ``max_per_img``.
        """
        suits = 0 < count < SPLIT_THRESHOLD and cfg.max_per_img > 0 and not is_traced()
        return plain_nms(cfg.get("nms")) if suits else None

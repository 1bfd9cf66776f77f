"""The region proposal network: right in mixed precision too, and with faster NMS on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from mmdet.models.dense_heads import RPNHead
from mmdet.models.task_modules.samplers import PseudoSampler
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_maskr.errors import UserError
from mmdet_maskr.models.conventions import check_convention, check_nms
from mmdet_maskr.models.dense_heads.level_nms import goes_by_level, nms_per_level
from mmdet_maskr.models.dense_heads.proposals import best_of_levels, select_proposals
from mmdet_maskr.models.dense_heads.sampled_backward import hidden_and_outputs
from mmdet_maskr.models.dense_heads.sampled_losses import sampled_losses
from mmdet_maskr.tracing import is_traced


@MODELS.register_module()
class SampledRPNHead(RPNHead):
    """mmdet's RPNHead, with float32 results whatever the type of the features.

    Thousands of proposals are ranked by their logits: bfloat16 has 8 significant bits, so most
    would be ties, and mmcv's NMS has no kernel for it on a CPU. Options and parameters are those
    of RPNHead.

    Losses are those of the sampled anchors alone (:func:`.sampled_losses.sampled_losses`), summed
    over levels, and proposals are chosen for the images of a batch together. On a CPU the best
    boxes of each pyramid level go through NMS on their own (:func:`nms_per_level`): the same
    proposals, in less time. In training there, gradients are computed at the sampled anchors alone
    too (:mod:`.sampled_backward`): the same gradients, for a third of the head's work and without
    its activations in memory.

    With ``convention='detectron2'`` or ``'torchvision'`` in ``test_cfg.rpn`` or
    ``train_cfg.rpn_proposal``, proposals are those of these codebases, in their order; see
    :func:`.proposals.select_proposals`.

    Raises:
        UserError: an unknown convention, or one with softmax instead of sigmoid or with options of
            NMS that it does not have.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if self.test_cfg is not None:
            self._convention(self.test_cfg)

    def _convention(self, cfg: ConfigDict) -> str:
        convention = check_convention("rpn.convention", cfg.get("convention", "mmdet"))
        if convention == "mmdet":
            return convention
        if not self.use_sigmoid_cls:
            raise UserError(
                f"rpn.convention={convention!r} needs rpn_head.loss_cls.use_sigmoid=True."
            )
        check_nms("rpn", convention, cfg)
        return convention

    def forward_single(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, A, H, W) and box deltas (B, 4 A, H, W) of one level with A anchors a cell."""
        if self._samples(x):
            outputs = hidden_and_outputs(
                x,
                self.rpn_conv.weight,
                self.rpn_conv.bias,
                torch.cat([self.rpn_cls.weight, self.rpn_reg.weight]),
                torch.cat([self.rpn_cls.bias, self.rpn_reg.bias]),
            )
            logits, deltas = outputs.split([len(self.rpn_cls.weight), len(self.rpn_reg.weight)], 1)
        else:
            logits, deltas = super().forward_single(x)
        return logits.float(), deltas.float()

    def _samples(self, x: Tensor) -> bool:
        """Whether a loss will look at few cells of this level, and gradients are computed here."""
        return (
            self.training
            and torch.is_grad_enabled()
            and x.device.type == "cpu"
            and self.num_convs == 1
            and self._has_sampler
            and not is_traced()
        )

    @property
    def _has_sampler(self) -> bool:
        return not isinstance(getattr(self, "sampler", None), (PseudoSampler, type(None)))

    def loss_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        batch_gt_instances: list[InstanceData],
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: list[InstanceData] | None = None,
    ) -> dict[str, Tensor | list[Tensor]]:
        """mmdet's losses; with a sampler each is a list of one sum in place of one a level."""
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
        )
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
        """mmdet's proposals, the images of a batch together until NMS."""
        cfg = self.test_cfg if cfg is None else cfg
        if self._convention(cfg) != "mmdet":
            return super().predict_by_feat(
                cls_scores, bbox_preds, score_factors, batch_img_metas, cfg, rescale, with_nms
            )
        metas = cast(list[dict], batch_img_metas)  # mmdet's base class has None for others' sake
        first = cls_scores[0]
        anchors = self.prior_generator.grid_priors(
            [level.shape[2:] for level in cls_scores], dtype=first.dtype, device=first.device
        )
        batch = len(metas)
        scores, deltas, priors, level_ids = best_of_levels(
            [self._scores(level.detach()) for level in cls_scores],
            [d.detach().permute(0, 2, 3, 1).reshape(batch, -1, 4) for d in bbox_preds],
            anchors,
            cfg.get("nms_pre", -1),
        )
        boxes = self._decode(priors, deltas, [tuple(meta["img_shape"]) for meta in metas])
        return [
            self._bbox_post_process(
                InstanceData(bboxes=boxes[i], scores=scores[i], level_ids=level_ids),
                cfg,
                rescale,
                with_nms,
                meta,
            )
            for i, meta in enumerate(metas)
        ]

    def _scores(self, logits: Tensor) -> Tensor:
        """(B, H W A) probabilities of an object, from logits of a level."""
        logits = logits.permute(0, 2, 3, 1)
        if self.use_sigmoid_cls:
            return logits.flatten(1).sigmoid()
        return logits.reshape(len(logits), -1, self.cls_out_channels).softmax(-1)[..., 0]

    def _decode(
        self, priors: Tensor, deltas: Tensor, shapes: Sequence[tuple[int, ...]]
    ) -> Sequence[Tensor]:
        """Boxes of each image, from (B, K, 4) anchors and deltas, cut at its borders."""
        if len(set(shapes)) > 1:
            return [
                self.bbox_coder.decode(*each, max_shape=shape)
                for *each, shape in zip(priors, deltas, shapes, strict=True)
            ]
        boxes = self.bbox_coder.decode(
            priors.flatten(0, 1), deltas.flatten(0, 1), max_shape=shapes[0]
        )
        return boxes.split(priors.shape[1])

    def _predict_by_feat_single(
        self,
        cls_score_list: list[Tensor],
        bbox_pred_list: list[Tensor],
        score_factor_list: list[Tensor | None],
        mlvl_priors: list[Tensor],
        img_meta: dict,
        cfg: ConfigDict | None = None,
        rescale: bool = False,
        with_nms: bool = True,
    ) -> InstanceData:
        """mmdet's, or the proposals of one image in another convention."""
        cfg = self.test_cfg if cfg is None else cfg
        convention = self._convention(cfg)
        if convention == "mmdet":
            return super()._predict_by_feat_single(
                cls_score_list,
                bbox_pred_list,
                score_factor_list,
                mlvl_priors,
                img_meta,
                cfg,
                rescale,
                with_nms,
            )
        results = select_proposals(
            [logits.permute(1, 2, 0).flatten() for logits in cls_score_list],
            [deltas.permute(1, 2, 0).reshape(-1, 4) for deltas in bbox_pred_list],
            mlvl_priors,
            self.bbox_coder,
            img_meta["img_shape"],
            cfg,
            convention,
        )
        if rescale:
            scale = results.bboxes.new_tensor(img_meta["scale_factor"]).repeat(2)
            results.bboxes = results.bboxes / scale
        return results

    def _bbox_post_process(
        self,
        results: InstanceData,
        cfg: ConfigDict,
        rescale: bool = False,
        with_nms: bool = True,
        img_meta: dict | None = None,
    ) -> InstanceData:
        """mmdet's, with NMS by level where that gives the same."""
        if rescale or not with_nms or not goes_by_level(results, cfg.get("nms"), cfg.max_per_img):
            return super()._bbox_post_process(results, cfg, rescale, with_nms, img_meta)
        boxes, scores, level_ids = results.bboxes, results.scores, results.level_ids
        smallest = cfg.get("min_bbox_size", -1)
        if smallest >= 0:
            large = ((boxes[:, 2:] - boxes[:, :2]) > smallest).all(1)
            if not large.all():
                boxes, scores, level_ids = boxes[large], scores[large], level_ids[large]
        if len(boxes) == 0:
            return super()._bbox_post_process(results, cfg, rescale, with_nms, img_meta)
        keep = nms_per_level(boxes, scores, level_ids, cfg.nms.iou_threshold, cfg.max_per_img)
        return InstanceData(bboxes=boxes[keep], scores=scores[keep], labels=torch.zeros_like(keep))

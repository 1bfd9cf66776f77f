"""The mask branch: a tower and a predictor, freely combined (He et al. 2017, section 3, 4.2)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.registry import MODELS
from mmdet.utils import ConfigType, InstanceList, OptConfigType, OptMultiConfig
from mmengine.config import ConfigDict
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmdet_maskr.errors import UserError
from mmdet_maskr.models.mask_heads import predictors, towers
from mmdet_maskr.models.mask_heads.paste import check_mask_output, paste, size_of
from mmdet_maskr.ops.boxes import rescaled
from mmdet_maskr.structures.targets import known_of, targets_of


@MODELS.register_module()
class ComposedMaskHead(BaseModule):
    """Mask head of {FCN, MLP, res5} x {per-class, class-agnostic, softmax}.

    With ``tower='fcn'``, it has the options, parameter names, initial weights and outputs of
    mmdet's FCNMaskHead; checkpoints load both ways. If labels are given (as by ParallelRoIHead),
    the per-class predictor computes one channel per RoI instead of K.

    This is the base class. Building it returns the class for the tower: :class:`.ConvMaskHead` or
    :class:`.MLPMaskHead`.

    Args:
        tower: 'fcn', 'mlp' or 'res5' (see :mod:`.towers`).
        num_convs: convolutions of the FCN, 0 to 8. Default 4, and 0 for the other towers.
        num_fcs: layers of the MLP.
        fc_out_channels: width of the MLP's layers.
        in_channels: channels of the RoI features.
        conv_kernel_size: kernel size of the FCN.
        conv_out_channels: width of the FCN and of the deconvolution.
        roi_feat_size: s, side of the RoI features in bins. The MLP needs it (default 14); other
            towers only check it.
        mask_size: m. Default: what the tower returns for s; for the MLP any value (default 28).
        num_classes: K.
        class_agnostic: one mask for all classes.
        activation: 'sigmoid' (masks do not compete) or 'softmax' (over K classes and background).
        upsample_cfg: ``type`` 'deconv', 'bilinear', 'nearest' or None, and ``scale_factor``, so
            that m = s * scale_factor. Not for the MLP. Default: deconvolution by 2.
        conv_cfg: type of the convolutions.
        norm_cfg: their normalization.
        predictor_cfg: type and options of the last layer, such as Seesaw's
            ``dict(type='NormedConv2d', tempearture=20)``. Others than 'Conv' compute all channels.
        loss_mask: mmdet's CrossEntropyLoss (use_mask=True), DiceLoss, FocalLoss or another loss on
            (N, m * m) logits; for softmax CrossEntropyLoss(use_mask=False).
        init_cfg: must be None, as in FCNMaskHead: the head initializes its weights itself.

    Raises:
        UserError: options are unknown or contradict each other; the message has the accepted
            values.
    """

    scale_factor: int | None = None  # m / s; None where m is free
    upsample: nn.Module | None
    build_layers: Callable[..., None]  # makes layers and sizes, of options of the constructor
    forms: ClassVar[dict[str, type[ComposedMaskHead]]] = {}  # by tower

    def __init_subclass__(cls, towers: Sequence[str] = (), **kwargs) -> None:
        super().__init_subclass__(**kwargs)
        cls.forms.update(dict.fromkeys(towers, cls))

    def __init__(
        self,
        tower: str = "fcn",
        num_convs: int | None = None,
        num_fcs: int = 2,
        fc_out_channels: int = 1024,
        in_channels: int = 256,
        conv_kernel_size: int = 3,
        conv_out_channels: int = 256,
        roi_feat_size: int | None = None,
        mask_size: int | None = None,
        num_classes: int = 80,
        class_agnostic: bool = False,
        activation: str = "sigmoid",
        upsample_cfg: OptConfigType = None,
        conv_cfg: OptConfigType = None,
        norm_cfg: OptConfigType = None,
        predictor_cfg: OptConfigType = None,
        loss_mask: ConfigType | None = None,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        if init_cfg is not None:
            raise UserError(
                "mask_head.init_cfg must be None, because the head initializes its weights "
                "itself: leave it out."
            )
        super().__init__()
        num_convs = (4 if tower == "fcn" else 0) if num_convs is None else num_convs
        towers.check_tower(tower, num_convs, num_fcs, conv_kernel_size)
        self.predictor = predictors.build_predictor(activation, class_agnostic, num_classes)
        if loss_mask is None:
            loss_mask = dict(type="CrossEntropyLoss", use_mask=activation == "sigmoid")
        predictors.check_loss(activation, loss_mask)
        self.tower = tower
        self.activation = activation
        self.num_classes = num_classes
        self.class_agnostic = class_agnostic
        self.roi_feat_size = roi_feat_size
        self.loss_mask = MODELS.build(loss_mask)

        self.mask_size = mask_size
        self.build_layers(
            num_convs=num_convs,
            num_fcs=num_fcs,
            fc_out_channels=fc_out_channels,
            in_channels=in_channels,
            conv_kernel_size=conv_kernel_size,
            conv_out_channels=conv_out_channels,
            upsample_cfg=upsample_cfg,
            conv_cfg=conv_cfg,
            norm_cfg=norm_cfg,
            predictor_cfg=predictor_cfg,
        )

    def __new__(cls, tower: str = "fcn", *args, **kwargs):
        if cls is not ComposedMaskHead:
            return super().__new__(cls)
        towers.check_known(tower)
        return object.__new__(cls.forms[tower])

    # so that inspect.signature tells the options
    functools.update_wrapper(__new__, __init__, assigned=(), updated=())

    @property
    def logits_layer(self) -> nn.Module:
        """The last layer."""
        raise NotImplementedError

    def masks_of(self, x: Tensor, channels: Tensor | None) -> Tensor:
        """Logits of RoI features (N, C, s, s): all channels, or one (N,) for each RoI."""
        raise NotImplementedError

    def given_size(self, roi_feat_size: int) -> tuple[int, str]:
        """The mask size m for RoI features of s x s, and the options that set it."""
        raise NotImplementedError

    @property
    def selects_channel(self) -> bool:
        """Whether :meth:`forward` with labels computes less than without."""
        return self.predictor.selects_channel

    def check_sizes(
        self, roi_feat_size: int, mask_size: int | tuple[int, int] | None = None
    ) -> int:
        """Side of the masks that RoI features of s x s give.

        Args:
            roi_feat_size: s.
            mask_size: the configured size, ``train_cfg.rcnn.mask_size``, one or two numbers.

        Raises:
            UserError: the tower does not support s, or cannot return this size.
        """
        if self.roi_feat_size not in (None, roi_feat_size):
            raise UserError(
                f"mask_head.roi_feat_size={self.roi_feat_size}, but the RoI layer gives "
                f"{roi_feat_size} x {roi_feat_size} (mask_roi_extractor.roi_layer.output_size)."
            )
        given, how = self.given_size(roi_feat_size)
        for wanted in (mask_size, self.mask_size):
            if wanted not in (None, given, (given, given), [given, given]):
                raise UserError(
                    f"mask_size={wanted} is not possible: with {how}, tower={self.tower!r} gives "
                    f"masks of {given} x {given}. Set mask_size in train_cfg.rcnn (and in "
                    f"mask_head, where it is given) to {given}, or change the RoI layer's "
                    "output_size or the scale_factor."
                )
        return given

    def init_weights(self) -> None:
        """mmdet's initialization: Kaiming for upsampling and logits too."""
        super().init_weights()
        for layer in (self.upsample, self.logits_layer):
            if layer is not None and hasattr(layer, "weight"):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Mask logits of RoIs.

        Args:
            x: (N, C, s, s) RoI features.
            labels: (N,) the class whose mask is wanted, in [0, K).

        Returns:
            (N, 1, m, m) of the labels with a per-class predictor and labels, else all channels:
            (N, K, m, m), class-agnostic (N, 1, m, m), softmax (N, K + 1, m, m).

        Raises:
            UserError: a label outside [0, K), or RoI features of another size than the MLP's.
        """
        if labels is not None:
            labels = predictors.check_labels(labels, self.num_classes)
        return self.masks_of(x, labels if self.selects_channel else None)

    def get_targets(
        self,
        sampling_results: list[SamplingResult],
        batch_gt_instances: InstanceList,
        rcnn_train_cfg: ConfigDict,
    ) -> Tensor:
        """Targets (N, m, m) of the positive RoIs of a batch, equal to mmdet's ``mask_target``."""
        return targets_of(
            [result.pos_priors for result in sampling_results],
            [result.pos_assigned_gt_inds for result in sampling_results],
            [instances.masks for instances in batch_gt_instances],
            rcnn_train_cfg.mask_size,
            soft=rcnn_train_cfg.get("soft_mask_target", False),
        )

    def loss_and_target(
        self,
        mask_preds: Tensor,
        sampling_results: list[SamplingResult],
        batch_gt_instances: InstanceList,
        rcnn_train_cfg: ConfigDict,
    ) -> dict:
        """The mask loss of the positive RoIs of a batch; objects without a mask are left out.

        Args:
            mask_preds: logits (N, 1 or all channels, m, m) from :meth:`forward`.
            sampling_results: for each image its positive RoIs and their ground truths.
            batch_gt_instances: for each image ``masks``.
            rcnn_train_cfg: ``mask_size`` and, optional, ``soft_mask_target``.

        Returns:
            ``loss_mask`` (a dictionary with the loss; if no object has a mask, it is zero but keeps
            the graph) and ``mask_targets``.

        Raises:
            UserError: a label outside [0, K), or masks of another size than ``mask_size``.
        """
        targets = self.get_targets(sampling_results, batch_gt_instances, rcnn_train_cfg)
        labels = torch.cat([result.pos_gt_labels for result in sampling_results])
        if mask_preds.shape[1] != 1:  # of one channel, :meth:`forward` has looked at them
            labels = predictors.check_labels(labels, self.num_classes)
        if targets.shape[1:] != mask_preds.shape[2:]:
            raise UserError(
                f"train_cfg.rcnn.mask_size={rcnn_train_cfg.mask_size}, but the mask head gives "
                f"{mask_preds.shape[2]} x {mask_preds.shape[3]}: set one to the other."
            )
        known = known_of(
            [result.pos_assigned_gt_inds for result in sampling_results],
            [instances.masks for instances in batch_gt_instances],
        )
        chosen = slice(None) if known is None else known
        logits = mask_preds[chosen]
        if len(logits) == 0:
            loss = logits.sum()  # of nothing, but with a graph
        else:
            loss = self.predictor.loss(self.loss_mask, logits, targets[chosen], labels[chosen])
        return dict(loss_mask=dict(loss_mask=loss), mask_targets=targets)

    def check_sigmoids(self) -> None:
        """Check that masks are sigmoids of the logits, as mmdet's cascades assume.

        Raises:
            UserError: they are a softmax over classes.
        """
        if self.activation == "softmax":
            raise UserError(
                "mask_head.activation='softmax' does not work with this RoI head, which applies "
                "a sigmoid itself (as mmdet's CascadeRoIHead and its subclasses do). Set "
                "roi_head.type='AveragedCascadeRoIHead', or activation='sigmoid'."
            )

    def predict_by_feat(
        self,
        mask_preds: tuple[Tensor],
        results_list: InstanceList,
        batch_img_metas: list[dict],
        rcnn_test_cfg: ConfigDict,
        rescale: bool = False,
        activate_map: bool = False,
    ) -> InstanceList:
        """Masks of detections.

        Args:
            mask_preds: for each image logits (D, 1 or all channels, m, m).
            results_list: for each image ``bboxes`` (D, 4) in pixels of the network's input and
                ``labels`` (D,).
            batch_img_metas: for each image ``ori_shape`` and ``scale_factor``.
            rcnn_test_cfg: see :func:`.paste.paste`.
            rescale: return boxes and masks in pixels of the original image.
            activate_map: whether ``mask_preds`` are already sigmoids.

        Returns:
            ``results_list`` with ``masks``: (D, H, W) bool, or RLEMasks.

        Raises:
            UserError: sigmoids of logits that are a softmax's; an unknown ``mask_output``.
        """
        if activate_map and any(sigmoids.shape[1] > 1 for sigmoids in mask_preds):
            self.check_sigmoids()
        for logits, results, meta in zip(mask_preds, results_list, batch_img_metas, strict=True):
            if activate_map:
                masks = self.predictor.logits_of(logits, results.labels)
            else:
                masks = self.predictor.probabilities(logits, results.labels)
            if rescale:  # mmdet's RoI heads count on the mask head to rescale their boxes
                results.bboxes = rescaled(results.bboxes, meta["scale_factor"])
            results.masks = paste(masks, results.bboxes, size_of(meta, rescale), rcnn_test_cfg)
        return results_list


def last_mask_head(roi_head: nn.Module | None) -> nn.Module | None:
    """The mask head that returns the masks (the last stage of a cascade), or None."""
    head = getattr(roi_head, "mask_head", None)
    return head[-1] if isinstance(head, nn.ModuleList) else head


def check_rle(head: nn.Module | None, rcnn_test_cfg: ConfigDict | None) -> None:
    """Check that a mask head supports ``test_cfg.rcnn.mask_output``.

    Args:
        head: from :func:`last_mask_head`.
        rcnn_test_cfg: of the RoI head; None in a model that is not tested.

    Raises:
        UserError: an unknown value, or 'rle' of a head that gives dense masks only.
    """
    if rcnn_test_cfg is None or check_mask_output(rcnn_test_cfg) != "rle":
        return
    if not isinstance(head, ComposedMaskHead):
        raise UserError(
            "test_cfg.rcnn.mask_output='rle' needs mask_head.type='ComposedMaskHead', not "
            f"{type(head).__name__}, which gives 'dense' masks only."
        )

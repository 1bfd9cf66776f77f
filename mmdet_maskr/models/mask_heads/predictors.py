"""Predictors of the mask branch: the last layer, its loss, and what it says about a class.

Masks of K classes need not compete: with a sigmoid, each class has its own mask, and loss and
prediction use only the mask of the RoI's class (section 3). So only this channel is computed, and
cost and memory do not depend on K.

Symbols: N RoIs, K classes, C channels, m x m the mask.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmcv.cnn import build_conv_layer
from mmcv.cnn.bricks.wrappers import Conv2d
from mmdet.models.losses import CrossEntropyLoss
from mmdet.utils import OptConfigType
from torch import Tensor, nn

from mmdet_maskr.errors import UserError
from mmdet_maskr.ops.late_checks import require
from mmdet_maskr.tracing import is_traced

ACTIVATIONS = ("sigmoid", "softmax")


class PixelLogits(Conv2d):
    """1x1 convolution to mask logits, of all channels or of one channel for each RoI.

    Args:
        in_channels: C.
        out_channels: number of masks.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)

    def forward(self, x: Tensor, channels: Tensor | None = None) -> Tensor:
        """(N, C, m, m) -> (N, out_channels, m, m), or (N, 1, m, m) for N given ``channels``."""
        if channels is None:
            return super().forward(x)
        weight = self.weight.flatten(1)[channels][:, None]
        bias = self.bias[channels][:, None, None]
        # in a graph all sides but the number of RoIs are constants: where all are read from x,
        # ONNX Runtime takes one for "what is left", which fails without RoIs
        count, (depth, height, width) = x.shape[0], map(int, x.shape[1:])
        pixels = x.reshape(count, depth, height * width)
        return torch.baddbmm(bias, weight, pixels).reshape(count, 1, height, width)


class VectorLogits(nn.Linear):
    """Fully connected layer to mask logits, of all channels or of one channel for each RoI.

    Args:
        in_features: C.
        out_channels: number of masks.
        mask_size: m.
    """

    def __init__(self, in_features: int, out_channels: int, mask_size: int) -> None:
        super().__init__(in_features, out_channels * mask_size**2)
        self.mask_size = mask_size

    def forward(self, x: Tensor, channels: Tensor | None = None) -> Tensor:
        """(N, C) -> (N, out_channels, m, m), or (N, 1, m, m) for N given ``channels``."""
        if channels is None or len(x) == 0 or is_traced():
            logits = super().forward(x).unflatten(1, (-1, self.mask_size, self.mask_size))
            return logits if channels is None else of_channels(logits, channels)
        # RoIs of one class at a time: gathering a weight (m * m, C) for each RoI would be larger
        # than all classes' weights together.
        order = channels.argsort(stable=True)
        found, counts = channels[order].unique_consecutive(return_counts=True)
        weights = self.weight.view(-1, self.mask_size**2, self.in_features).unbind(0)
        biases = self.bias.view(-1, self.mask_size**2).unbind(0)
        parts = [
            F.linear(part, weights[channel], biases[channel])
            for channel, part in zip(found.tolist(), x[order].split(counts.tolist()), strict=True)
        ]
        logits = torch.cat(parts)[order.argsort()]
        return logits.view(len(x), 1, self.mask_size, self.mask_size)


def is_plain(predictor_cfg: OptConfigType) -> bool:
    """Whether ``mask_head.predictor_cfg`` names the usual convolution."""
    return not predictor_cfg or dict(predictor_cfg) in (dict(type="Conv"), dict(type="Conv2d"))


def build_logits(predictor_cfg: OptConfigType, in_channels: int, out_channels: int) -> nn.Module:
    """The 1x1 convolution to mask logits that ``mask_head.predictor_cfg`` names."""
    if is_plain(predictor_cfg):
        return PixelLogits(in_channels, out_channels)
    return build_conv_layer(dict(predictor_cfg), in_channels, out_channels, 1)


def of_channels(logits: Tensor, channels: Tensor) -> Tensor:
    """(N, 1, m, m) of one channel for each RoI, from (N, K, m, m)."""
    index = channels.long()[:, None, None, None]
    return logits.gather(1, index.expand(-1, 1, logits.shape[2], logits.shape[3]))


class PerClassSigmoid:
    """One mask for each class, without competition between classes: the paper's choice.

    Args:
        num_classes: K.
    """

    selects_channel = True

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.out_channels = num_classes

    def logits_of(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(N, m, m) of each RoI's class, from (N, K, m, m) or from the selected (N, 1, m, m)."""
        return (logits if logits.shape[1] == 1 else of_channels(logits, labels))[:, 0]

    def probabilities(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(N, m, m) of each RoI's class: the class is selected before the sigmoid."""
        return self.logits_of(logits, labels).sigmoid()

    def loss(self, criterion: nn.Module, logits: Tensor, targets: Tensor, labels: Tensor) -> Tensor:
        """Binary loss between the mask of each RoI's class and its target (N, m, m)."""
        return binary_loss(criterion, self.logits_of(logits, labels), targets)


class ClassAgnosticSigmoid(PerClassSigmoid):
    """One mask for all classes (section 4.2)."""

    selects_channel = False

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.out_channels = 1


class SoftmaxOverClasses(PerClassSigmoid):
    """Each pixel is one of K classes or background, with a multinomial loss (Table 2b).

    A mask's probability is that of its class; the background is channel K.
    """

    selects_channel = False

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.out_channels = num_classes + 1

    def probabilities(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(N, m, m): softmax over (N, K + 1, m, m), then the RoI's class."""
        return (self.logits_of(logits, labels) - logits.logsumexp(1)).exp()

    def loss(self, criterion: nn.Module, logits: Tensor, targets: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of (N, K + 1, m, m): the RoI's class, or background off its mask."""
        classes = torch.where(targets >= 0.5, labels[:, None, None], self.num_classes)
        return criterion(logits, classes)


def build_predictor(activation: str, class_agnostic: bool, num_classes: int) -> PerClassSigmoid:
    """The predictor that the options name.

    Raises:
        UserError: another activation, softmax with one mask for all classes, no class.
    """
    if activation not in ACTIVATIONS:
        raise UserError(f"mask_head.activation must be one of {ACTIVATIONS}, not {activation!r}.")
    if num_classes < 1:
        raise UserError(f"mask_head.num_classes must be positive, not {num_classes!r}.")
    if activation == "softmax":
        if class_agnostic:
            raise UserError(
                "mask_head.activation='softmax' compares classes, so it does not work with "
                "class_agnostic=True: set class_agnostic=False, or activation='sigmoid'."
            )
        return SoftmaxOverClasses(num_classes)
    return (ClassAgnosticSigmoid if class_agnostic else PerClassSigmoid)(num_classes)


def check_loss(activation: str, loss_cfg: dict) -> None:
    """Check that a loss fits the activation.

    Raises:
        UserError: a multinomial loss on independent masks, or a binary one on a softmax.
    """
    multinomial = loss_cfg["type"] == "CrossEntropyLoss" and not (
        loss_cfg.get("use_mask") or loss_cfg.get("use_sigmoid")
    )
    if activation == "softmax" and not multinomial:
        raise UserError(
            f"mask_head.activation='softmax' needs a multinomial loss_mask: "
            f"dict(type='CrossEntropyLoss', use_mask=False), not {dict(loss_cfg)}."
        )
    if activation == "sigmoid" and multinomial:
        raise UserError(
            "mask_head.activation='sigmoid' needs a binary loss_mask: "
            "dict(type='CrossEntropyLoss', use_mask=True), DiceLoss or FocalLoss, not "
            f"{dict(loss_cfg)}, which is multinomial."
        )


def binary_loss(criterion: nn.Module, logits: Tensor, targets: Tensor) -> Tensor:
    """A binary loss of mmdet on one mask for each RoI.

    Args:
        criterion: CrossEntropyLoss(use_mask=True), which picks a channel itself, or a loss on
            (N, m * m) logits and targets, such as DiceLoss (a mean over masks) and FocalLoss (a
            mean over pixels).
        logits: (N, m, m).
        targets: (N, m, m), 0 to 1.
    """
    if _is_plain(criterion):  # what it computes, without picking a channel
        return criterion.loss_weight * F.binary_cross_entropy_with_logits(logits, targets)[None]
    if getattr(criterion, "use_mask", False):
        only_channel = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
        return criterion(logits[:, None], targets, only_channel)
    return criterion(logits.flatten(1), targets.flatten(1))


def _is_plain(criterion: nn.Module) -> bool:
    return (
        type(criterion) is CrossEntropyLoss
        and criterion.use_mask
        and criterion.class_weight is None
        and criterion.ignore_index is None
        and criterion.reduction == "mean"
    )


def check_labels(labels: Tensor, num_classes: int) -> Tensor:
    """Labels (N,) as int64, of any type; they must be whole numbers in [0, K).

    Raises:
        UserError: with the first label that is not.
    """
    whole = labels.long()
    if is_traced():
        return whole
    inside = whole.clamp(0, num_classes - 1)
    right = inside == labels

    def explain() -> None:
        raise UserError(
            f"label {labels[~right][0].item()} is outside [0, {num_classes}): mask_head.num_classes"
            f"={num_classes} does not fit the dataset's classes."
        )

    require(right.all(), explain)
    # an index for kernels that may come before the verdict is read
    return inside

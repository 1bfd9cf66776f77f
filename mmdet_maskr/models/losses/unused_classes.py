"""Cross-entropy with logits of unused classes in the softmax."""

from __future__ import annotations

from mmdet.models.losses import CrossEntropyLoss
from mmdet.registry import MODELS
from torch import Tensor

from mmdet_maskr.errors import UserError


@MODELS.register_module()
class UnusedClassesCrossEntropyLoss(CrossEntropyLoss):
    """Cross-entropy over K classes, the background, and U classes that never occur, in this order.

    torchvision's COCO models have a logit for each id up to 90, but COCO uses only 80. Without the
    unused logits in the softmax, scores would differ from torchvision's.

    Args:
        num_unused: U.
        kwargs: further options of CrossEntropyLoss; a softmax only.

    Raises:
        UserError: the loss uses a sigmoid, or num_unused is not positive.
    """

    custom_cls_channels = True  # mmdet's box heads then ask for channels and scores

    def __init__(self, num_unused: int, **kwargs) -> None:
        if num_unused < 1:
            raise UserError(f"loss_cls.num_unused must be positive, not {num_unused!r}.")
        if kwargs.get("use_sigmoid") or kwargs.get("use_mask"):
            raise UserError(
                "loss_cls.type='UnusedClassesCrossEntropyLoss' works only with a softmax: leave "
                "out use_sigmoid and use_mask."
            )
        super().__init__(**kwargs)
        self.num_unused = num_unused

    def get_cls_channels(self, num_classes: int) -> int:
        """Logits of a box head: K + 1 + U."""
        return num_classes + 1 + self.num_unused

    def get_activation(self, cls_score: Tensor) -> Tensor:
        """(R, K + 1 + U) logits -> (R, K + 1) probabilities."""
        return cls_score.softmax(-1)[:, : -self.num_unused]

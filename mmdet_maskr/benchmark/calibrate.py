"""Random weights that detect as many objects as trained ones, so that speed can be measured.

An untrained detector is no model of a trained one: its activations fade or explode from layer to
layer, and none, or all, of its 80,000 class scores are above the threshold.
"""

from __future__ import annotations

import numpy as np
import torch
from mmdet.structures import DetDataSample
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmdet_maskr.errors import UserError

CANDIDATES = 1000


def sample_of(image: np.ndarray) -> dict:
    """What a detector's ``test_step`` takes, of an image (H, W, 3) in BGR at the network's size."""
    shape = image.shape[:2]
    meta = dict(img_shape=shape, ori_shape=shape, scale_factor=(1.0, 1.0))
    inputs = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    return dict(inputs=[inputs], data_samples=[DetDataSample(metainfo=meta)])


@torch.no_grad()
def calibrate(model: nn.Module, image: np.ndarray, candidates: int = CANDIDATES) -> int:
    """Give a detector with random weights statistics and scores like a trained one's, in place.

    Batch normalisation gets the statistics of the image; the weights of the box classifier are
    multiplied by what lets about ``candidates`` class scores pass the score threshold.

    Args:
        model: a two-stage detector with a softmax over classes.
        image: (H, W, 3) uint8 in BGR, at the network's size.
        candidates: how many scores pass, before NMS.

    Returns:
        The number of detections on the image.

    Raises:
        UserError: no such gain is found.
    """
    _set_statistics(model, image)
    logits = _class_logits(model, image)
    threshold = model.test_cfg.rcnn.score_thr
    bias = model.roi_head.bbox_head.fc_cls.bias
    bias.zero_()
    centred = logits - logits.mean(0)
    gain, found = _gain_for(centred, threshold, candidates)
    if not 0.5 * candidates <= found <= 2 * candidates:
        raise UserError(
            f"calibration found {found} candidates above score_thr={threshold}, not about "
            f"{candidates}."
        )
    model.roi_head.bbox_head.fc_cls.weight.mul_(gain)
    bias.copy_(-gain * logits.mean(0))
    return len(model.test_step(sample_of(image))[0].pred_instances)


def _gain_for(logits: Tensor, threshold: float, candidates: int) -> tuple[float, int]:
    """A factor for logits (N, K + 1), and how many scores are above the threshold with it.

    The number rises with the factor from 0, and falls once each RoI is of one class: the smaller
    one of two factors is right. Of few classes, all scores are above the threshold at first.
    """

    def count(gain: float) -> int:
        return int(((gain * logits).softmax(1)[:, :-1] > threshold).sum())

    gains = torch.logspace(-3, 4, 71).tolist()
    counts = [count(gain) for gain in gains]
    reached = next((i for i, found in enumerate(counts) if found >= candidates), None)
    if not reached:
        best = min(range(len(gains)), key=lambda i: abs(counts[i] - candidates))
        return gains[best], counts[best]
    low, high = gains[reached - 1], gains[reached]
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if count(middle) < candidates else (low, middle)
    return high, count(high)


def _set_statistics(model: nn.Module, image: np.ndarray) -> None:
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    before = [(layer.training, layer.momentum) for layer in layers]
    model.eval()
    for layer in layers:
        layer.train()
        layer.momentum = 1.0  # the running statistics become the image's
    model.test_step(sample_of(image))
    for layer, (training, momentum) in zip(layers, before, strict=True):
        layer.train(training)
        layer.momentum = momentum
    model.eval()


def _class_logits(model: nn.Module, image: np.ndarray) -> Tensor:
    found: list[Tensor] = []
    layer = model.roi_head.bbox_head.fc_cls
    layer.bias.zero_()
    handle = layer.register_forward_hook(lambda module, inputs, output: found.append(output))
    try:
        model.test_step(sample_of(image))
    finally:
        handle.remove()
    return found[0].float()

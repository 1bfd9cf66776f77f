"""Detectors with random weights that have as much to do as trained ones.

With random weights alone, activations grow from block to block, all RoIs look alike to the
classifier, and either no box passes the score threshold or (with threshold 0) all 80,000 go to
NMS. So statistics of batch normalisation are those of the image, and the classifier's logits are
spread until about as many boxes pass as in a trained model.
"""

from __future__ import annotations

import copy

import cv2
import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from mmengine.config import ConfigDict
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmdet_maskr.errors import UserError

CANDIDATES = 1000  # boxes above the score threshold, of all classes


def build(config: ConfigDict) -> nn.Module:
    """The model of a config in evaluation mode, with initial weights under a seed."""
    config = copy.deepcopy(config)
    config.backbone.init_cfg = None  # nothing is downloaded
    if "shared_head" in config.roi_head:
        config.roi_head.shared_head.init_cfg = None
    torch.manual_seed(0)
    MMLogger.get_current_instance().setLevel("WARNING")  # init_weights reports every weight
    with DefaultScope.overwrite_default_scope("mmdet"):
        model = MODELS.build(config)
        model.init_weights()
    return model.eval()


def synthetic_photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8: noise with a photo's spectrum, large blobs and small detail."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 3), np.float32)
    for octave in range(2, 9):
        columns = 2**octave
        noise = rng.standard_normal((max(2, columns * height // width), columns, 3))
        noise = cv2.resize(noise.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        image += noise / columns**0.6
    image -= image.min()
    return (image * (255 / image.max())).astype(np.uint8)


def batch_of(image: np.ndarray) -> dict:
    """What ``model.test_step`` takes, of one image (H, W, 3)."""
    shape = image.shape[:2]
    meta = dict(img_id=0, img_shape=shape, ori_shape=shape, scale_factor=(1.0, 1.0))
    return dict(
        inputs=[torch.from_numpy(image).permute(2, 0, 1).contiguous()],
        data_samples=[DetDataSample(metainfo=meta)],
    )


@torch.no_grad()
def calibrate(model: nn.Module, batch: dict) -> int:
    """Give a random model the statistics of an image and a classifier that finds objects.

    Args:
        model: a two-stage detector with random weights, in evaluation mode; changed in place.
        batch: see :func:`batch_of`.

    Returns:
        How many boxes of all classes pass the score threshold.

    Raises:
        UserError: the RPN proposes nothing, or the classifier gives no class its own logit.
    """
    data = model.data_preprocessor(copy.deepcopy(batch), False)
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    before = [(norm.momentum, norm.training) for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    _box_logits(model, data)  # through norms of the heads, too
    for norm, (momentum, training) in zip(norms, before, strict=True):
        norm.momentum = momentum
        norm.train(training)
    logits = _box_logits(model, data)
    if len(logits) == 0:
        raise UserError("the RPN of this model with random weights proposes nothing.")
    head = model.roi_head.bbox_head
    mean, spread = logits.mean(0), logits.std(0).clamp(min=1e-12)
    gain, background, count = _best_gain(
        (logits - mean) / spread, model.test_cfg.rcnn.score_thr, min(CANDIDATES, len(logits))
    )
    layer = head.fc_cls
    layer.weight.mul_((gain / spread)[:, None])
    layer.bias.copy_((layer.bias - mean) / spread * gain)
    layer.bias[-1] += background * gain
    return count


def _box_logits(model: nn.Module, data: dict) -> torch.Tensor:
    """(R, K + 1) logits of the proposals."""
    maps = model.extract_feat(data["inputs"])
    proposals = model.rpn_head.predict(maps, data["data_samples"], rescale=False)
    rois = bbox2roi([found.bboxes for found in proposals])
    return model.roi_head._bbox_forward(maps, rois)["cls_score"]


def _best_gain(logits: torch.Tensor, threshold: float, wanted: int) -> tuple[float, float, int]:
    """Factor of logits and lead of the background with the wanted number of candidates.

    Args:
        logits: (R, K + 1), of each class with mean 0 and deviation 1 over the RoIs.
        threshold: of scores.
        wanted: how many scores should be above it.
    """
    best: tuple[int, float, float, int] | None = None
    for gain in np.geomspace(0.3, 30, 60).tolist():
        for background in (0.0, 2.0, 4.0, 6.0):
            moved = logits * gain
            moved[:, -1] += background * gain
            count = int((moved.softmax(1)[:, :-1] > threshold).sum())
            if best is None or abs(count - wanted) < best[0]:
                best = (abs(count - wanted), gain, background, count)
    return best[1:]

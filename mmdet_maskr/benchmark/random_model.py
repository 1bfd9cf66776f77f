"""Detectors with random weights that have as many detections to process as trained ones.

With random weights alone, activations grow from block to block, all RoIs look alike to the
classifier, and either no box passes the score threshold or (with threshold 0) all 80,000 go to
NMS. So statistics of batch normalization are those of the image, and the classifier's logits are
spread, and the background's raised, until about as many boxes pass as in a trained model.
"""

from __future__ import annotations

import copy
from pathlib import Path

import cv2
import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmdet_maskr.catalogue.files import config_path
from mmdet_maskr.deploy.images import read_image
from mmdet_maskr.errors import UserError
from mmdet_maskr.quiet import quiet

CANDIDATES = 1000  # boxes above the score threshold, of all classes
# Deviation of a class's logits over the RoIs. A large one makes all scores 0 or 1, and which of
# equal scores are kept is then left to chance.
SPREAD = 2.0
PEER = "stock"
STOCK = "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py"


def our_config(name: str) -> ConfigDict:
    """The model of a file in ``configs/_base_/models``.

    Raises:
        UserError: there is no such file.
    """
    return Config.fromfile(config_path(f"_base_/models/{name}")).model


def build(config: ConfigDict) -> nn.Module:
    """The model of a config in evaluation mode, with initial weights under a seed."""
    config = copy.deepcopy(config)
    config.backbone.init_cfg = None  # nothing is downloaded
    if "shared_head" in config.roi_head:
        config.roi_head.shared_head.init_cfg = None
    torch.manual_seed(0)
    with quiet(), DefaultScope.overwrite_default_scope("mmdet"):
        model = MODELS.build(config)
        model.init_weights()
    return model.eval()


def read_photo(path: Path, height: int, width: int) -> np.ndarray:
    """(H, W, 3) uint8 in BGR, of an image file.

    Raises:
        UserError: there is no image.
    """
    return cv2.resize(read_image(path), (width, height))


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
def calibrate(model: nn.Module, batch: dict, candidates: int = CANDIDATES) -> int:
    """Give a random model the statistics of an image and a classifier that finds objects.

    Args:
        model: a two-stage detector with random weights and a softmax over classes; changed in
            place, and in evaluation mode then.
        batch: see :func:`batch_of`.
        candidates: how many boxes should pass the score threshold, of all classes; of a model
            with fewer proposals, as many as these.

    Returns:
        How many boxes of all classes pass the score threshold.

    Raises:
        UserError: the RPN proposes nothing, or no score of the background lets about as
            many pass.
    """
    model.eval()
    data = model.data_preprocessor(copy.deepcopy(batch), False)
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0  # the running statistics become the image's
        norm.train()
    _box_logits(model, data)  # through norms of the heads, too
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    logits = _box_logits(model.eval(), data)
    if len(logits) == 0:
        raise UserError("the RPN of this model with random weights proposes nothing.")
    mean, deviation = logits.mean(0), logits.std(0, correction=0).clamp(min=1e-12)
    wanted = min(candidates, len(logits))
    threshold = model.test_cfg.rcnn.score_thr
    gain = SPREAD / deviation
    lead, count = _background_lead((logits - mean) * gain, threshold, wanted)
    if not wanted / 2 <= count <= 2 * wanted:
        raise UserError(
            f"{count} boxes of this model with random weights are above score_thr={threshold}, "
            f"not about {wanted}."
        )
    layer = model.roi_head.bbox_head.fc_cls
    layer.weight.mul_(gain[:, None])
    layer.bias.copy_((layer.bias - mean) * gain)
    layer.bias[-1] += lead
    return count


def _box_logits(model: nn.Module, data: dict) -> torch.Tensor:
    """(R, K + 1) logits of the proposals."""
    maps = model.extract_feat(data["inputs"])
    proposals = model.rpn_head.predict(maps, data["data_samples"], rescale=False)
    rois = bbox2roi([found.bboxes for found in proposals])
    return model.roi_head._bbox_forward(maps, rois)["cls_score"]


def _background_lead(logits: torch.Tensor, threshold: float, wanted: int) -> tuple[float, int]:
    """What to add to the background's logit, and how many scores are above the threshold then.

    Args:
        logits: (R, K + 1), of each class with mean 0 over the RoIs.
        threshold: of scores.
        wanted: how many scores should be above it.
    """

    def count(lead: float) -> int:
        moved = logits.clone()
        moved[:, -1] += lead
        return int((moved.softmax(1)[:, :-1] > threshold).sum())

    low, high = -50.0, 50.0  # the number falls as the background rises
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if count(middle) >= wanted else (low, middle)
    return low, count(low)

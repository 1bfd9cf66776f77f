"""Names and shapes of torchvision's R-CNNs, by what its modules are called.

Independent of the name map: they are what it is tested with.
"""

from __future__ import annotations

import torch
from torch import Tensor

BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


def state_dict(
    depth: int = 50,
    width: int = 8,
    out: int = 32,
    groups: int = 1,
    classes: int = 4,
    legacy: bool = False,
    v2: bool = False,
    masks: bool = True,
    keypoints: int | None = None,
) -> dict[str, Tensor]:
    """Tensors of a thin R-CNN of torchvision, by what its modules are called.

    Args:
        depth: of the ResNet.
        width: of the first stage's bottlenecks.
        out: channels of the first stage.
        groups: of the 3x3 convolutions.
        classes: with the background.
        legacy: names before version 0.13.
        v2: normalized heads and two convolutions in the RPN.
        masks: with masks.
        keypoints: None for none.
    """
    state: dict[str, Tensor] = {}
    generator = torch.Generator().manual_seed(0)

    def add(name: str, *shape: int) -> None:
        state[name] = torch.randn(shape, generator=generator)

    def layer(name: str, *shape: int) -> None:
        add(f"{name}.weight", *shape)
        add(f"{name}.bias", shape[0])

    def norm(name: str, channels: int, trains: bool = v2) -> None:
        layer(name, channels)
        add(f"{name}.running_mean", channels)
        state[f"{name}.running_var"] = torch.ones(channels)
        if trains:
            state[f"{name}.num_batches_tracked"] = torch.tensor(3)

    def block(name: str, *shape: int) -> None:
        """A convolution of Conv2dNormActivation."""
        if v2:
            add(f"{name}.0.weight", *shape)
            norm(f"{name}.1", shape[0])
        else:
            layer(name if legacy else f"{name}.0", *shape)

    body = "backbone.body"
    add(f"{body}.conv1.weight", 16, 3, 7, 7)
    norm(f"{body}.bn1", 16)
    inputs = 16
    for i, count in enumerate(BLOCKS[depth]):
        wide, to = width * 2**i, out * 2**i
        for j in range(count):
            name = f"{body}.layer{i + 1}.{j}"
            shapes = [(wide, inputs, 1, 1), (wide, wide // groups, 3, 3), (to, wide, 1, 1)]
            if depth < 50:
                shapes = [(to, inputs, 3, 3), (to, to, 3, 3)]
            for k, shape in enumerate(shapes):
                add(f"{name}.conv{k + 1}.weight", *shape)
                norm(f"{name}.bn{k + 1}", shape[0])
            if inputs != to:
                add(f"{name}.downsample.0.weight", to, inputs, 1, 1)
                norm(f"{name}.downsample.1", to)
            inputs = to
    for i in range(4):
        block(f"backbone.fpn.inner_blocks.{i}", 16, out * 2**i, 1, 1)
        block(f"backbone.fpn.layer_blocks.{i}", 16, 16, 3, 3)
    for i in range(2 if v2 else 1):
        layer("rpn.head.conv" if legacy else f"rpn.head.conv.{i}.0", 16, 16, 3, 3)
    layer("rpn.head.cls_logits", 3, 16, 1, 1)
    layer("rpn.head.bbox_pred", 12, 16, 1, 1)
    head = "roi_heads.box_head"
    if v2:
        for i in range(4):
            block(f"{head}.{i}", 16, 16, 3, 3)
        layer(f"{head}.5", 24, 16 * 49)
    else:
        layer(f"{head}.fc6", 24, 16 * 49)
        layer(f"{head}.fc7", 24, 24)
    layer("roi_heads.box_predictor.cls_score", classes, 24)
    layer("roi_heads.box_predictor.bbox_pred", 4 * classes, 24)
    if masks:
        for i in range(4):
            name = f"mask_fcn{i + 1}" if legacy else str(i)
            block(f"roi_heads.mask_head.{name}", 16, 16, 3, 3)
        add("roi_heads.mask_predictor.conv5_mask.weight", 16, 16, 2, 2)
        add("roi_heads.mask_predictor.conv5_mask.bias", 16)
        layer("roi_heads.mask_predictor.mask_fcn_logits", classes, 16, 1, 1)
    if keypoints is not None:
        for i in range(8):
            layer(f"roi_heads.keypoint_head.{2 * i}", 16, 16, 3, 3)
        add("roi_heads.keypoint_predictor.kps_score_lowres.weight", 16, keypoints, 4, 4)
        add("roi_heads.keypoint_predictor.kps_score_lowres.bias", keypoints)
    return state

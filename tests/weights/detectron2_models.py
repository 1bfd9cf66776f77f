"""Names and shapes of Detectron2's models, written down from its documentation of layers.

Independent of the name map: they are what it is tested with.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import yaml

BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
WIDTH = 8  # of the first stage's bottlenecks, unless groups ask for more

FPN = {
    "BACKBONE": dict(NAME="build_resnet_fpn_backbone"),
    "RESNETS": dict(
        OUT_FEATURES=["res2", "res3", "res4", "res5"],
        STEM_OUT_CHANNELS=8,
        WIDTH_PER_GROUP=WIDTH,
        RES2_OUT_CHANNELS=4 * WIDTH,
    ),
    "FPN": dict(IN_FEATURES=["res2", "res3", "res4", "res5"], OUT_CHANNELS=32),
    "ANCHOR_GENERATOR": dict(SIZES=[[32], [64], [128], [256], [512]]),
    "RPN": dict(IN_FEATURES=["p2", "p3", "p4", "p5", "p6"]),
    "ROI_HEADS": dict(NAME="StandardROIHeads", IN_FEATURES=["p2", "p3", "p4", "p5"], NUM_CLASSES=3),
    "ROI_BOX_HEAD": dict(NAME="FastRCNNConvFCHead", NUM_FC=2, FC_DIM=16, POOLER_RESOLUTION=7),
    "ROI_MASK_HEAD": dict(NUM_CONV=4, CONV_DIM=32),
    "MASK_ON": True,
}


def options(changes: dict[str, dict | Any]) -> dict:
    """A YAML config: a thin Mask R-CNN with an FPN, with changes by section."""
    model = {name: dict(v) if isinstance(v, dict) else v for name, v in FPN.items()}
    for section, values in changes.items():
        if isinstance(values, dict):
            model.setdefault(section, {}).update(values)
        else:
            model[section] = values
    return dict(MODEL=dict(model, META_ARCHITECTURE="GeneralizedRCNN"), VERSION=2)


class State:
    """Collects tensors: name to array."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self.random = np.random.default_rng(0)

    def add(self, name: str, *shape: int) -> None:
        fan_in = int(np.prod(shape[1:]))  # 1 for vectors
        values = self.random.standard_normal(shape) * (1 / fan_in) ** 0.5
        self.arrays[name] = values.astype(np.float32)

    def norm(self, name: str, channels: int, kind: str) -> None:
        self.add(f"{name}.weight", channels)
        self.add(f"{name}.bias", channels)
        if kind != "GN":
            self.add(f"{name}.running_mean", channels)
            self.arrays[f"{name}.running_var"] = np.ones(channels, np.float32)
        if kind == "BN":
            self.arrays[f"{name}.num_batches_tracked"] = np.array(7)

    def conv(
        self, name: str, out: int, inputs: int, size: int, norm: str = "", bias: bool = True
    ) -> None:
        """A convolution, which has a bias only where nothing normalizes it."""
        self.add(f"{name}.weight", out, inputs, size, size)
        if norm:
            self.norm(f"{name}.norm", out, norm)
        elif bias:
            self.add(f"{name}.bias", out)

    def linear(self, name: str, out: int, inputs: int) -> None:
        self.add(f"{name}.weight", out, inputs)
        self.add(f"{name}.bias", out)


def state_dict(
    depth: int = 50,
    width: int = WIDTH,
    out_channels: int = 4 * WIDTH,
    groups: int = 1,
    stem: int = 8,
    body: str = "fpn",
    norm: str = "FrozenBN",
    head_norm: str = "",
    box_convs: int = 0,
    fcs: int = 2,
    stages: int = 1,
    box_classes: int = 3,
    mask_classes: int | None = 3,
    keypoints: int | None = None,
    anchors: int = 3,
) -> dict[str, np.ndarray]:
    """Tensors of a model with the widths of :data:`FPN`.

    Args:
        depth: of the ResNet; below 50 it has basic blocks.
        width: of the first bottlenecks, all groups together.
        out_channels: of the first stage.
        groups: of the 3x3 convolutions.
        stem: its channels.
        body: 'fpn', 'c4' or 'dc5'.
        norm: of the ResNet.
        head_norm: of FPN, box and mask head.
        box_convs: of the box head.
        fcs: of the box head.
        stages: more than one for a cascade.
        box_classes: that have deltas of their own.
        mask_classes: that have masks of their own; None for no masks.
        keypoints: None for none.
        anchors: a cell.
    """
    state = State()
    root = "backbone.bottom_up" if body == "fpn" else "backbone"
    state.conv(f"{root}.stem.conv1", stem, 3, 7, norm)
    inputs = stem
    for i, count in enumerate(BLOCKS[depth]):
        wide, out = width * 2**i, out_channels * 2**i
        stage = "roi_heads.res5" if body == "c4" and i == 3 else f"{root}.res{i + 2}"
        for j in range(count):
            block = f"{stage}.{j}"
            if inputs != out:
                state.conv(f"{block}.shortcut", out, inputs, 1, norm)
            if depth < 50:
                state.conv(f"{block}.conv1", out, inputs, 3, norm)
                state.conv(f"{block}.conv2", out, out, 3, norm)
            else:
                state.conv(f"{block}.conv1", wide, inputs, 1, norm)
                state.conv(f"{block}.conv2", wide, wide // groups, 3, norm)
                state.conv(f"{block}.conv3", out, wide, 1, norm)
            inputs = out
    channels = dict(fpn=32, c4=4 * out_channels, dc5=8 * out_channels)[body]
    if body == "fpn":
        for level in (2, 3, 4, 5):
            state.conv(
                f"backbone.fpn_lateral{level}", 32, out_channels * 2 ** (level - 2), 1, head_norm
            )
            state.conv(f"backbone.fpn_output{level}", 32, 32, 3, head_norm)
    rpn = "proposal_generator.rpn_head"
    state.conv(f"{rpn}.conv", channels, channels, 3)
    state.conv(f"{rpn}.objectness_logits", anchors, channels, 1)
    state.conv(f"{rpn}.anchor_deltas", 4 * anchors, channels, 1)
    for stage in range(stages):
        number = "" if stages == 1 else f".{stage}"
        features = channels
        for k in range(box_convs):
            state.conv(f"roi_heads.box_head{number}.conv{k + 1}", 32, features, 3, head_norm)
            features = 32
        features = 8 * out_channels if body == "c4" else features * 49
        for k in range(0 if body == "c4" else fcs):
            state.linear(f"roi_heads.box_head{number}.fc{k + 1}", 16, features)
            features = 16
        state.linear(f"roi_heads.box_predictor{number}.cls_score", 4, features)
        state.linear(f"roi_heads.box_predictor{number}.bbox_pred", 4 * box_classes, features)
    if mask_classes is not None:
        features = 8 * out_channels if body == "c4" else channels
        for k in range(0 if body == "c4" else 4):
            state.conv(f"roi_heads.mask_head.mask_fcn{k + 1}", 32, features, 3, head_norm)
            features = 32
        state.add("roi_heads.mask_head.deconv.weight", features, 32, 2, 2)
        state.add("roi_heads.mask_head.deconv.bias", 32)
        state.conv("roi_heads.mask_head.predictor", mask_classes, 32, 1)
    if keypoints is not None:
        for k in range(8):
            state.conv(f"roi_heads.keypoint_head.conv_fcn{k + 1}", 32, 32, 3)
        state.add("roi_heads.keypoint_head.score_lowres.weight", 32, keypoints, 4, 4)
        state.add("roi_heads.keypoint_head.score_lowres.bias", keypoints)
    return state.arrays


def write(folder: Path, config: dict, arrays: dict[str, np.ndarray]) -> tuple[Path, Path]:
    """``model.pkl`` and ``config.yaml`` as the model zoo has them."""
    checkpoint, path = folder / "model.pkl", folder / "config.yaml"
    with checkpoint.open("wb") as file:
        pickle.dump({"model": arrays, "__author__": "test"}, file)
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return checkpoint, path

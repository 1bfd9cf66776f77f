"""Post-training quantization of an OpenVINO graph to 8 bits, by NNCF."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from mmdet_maskr.errors import UserError

if TYPE_CHECKING:
    import openvino

# Names of nodes, which are those of the modules. What gives boxes, and the scores that rank
# proposals, is a millionth of the work and most of the error.
SENSITIVE = (
    ".*/rpn_cls/.*",
    ".*/rpn_reg/.*",
    ".*/fc_cls/.*",
    ".*/fc_reg/.*",
    ".*/score_lowres/.*",
)
# What belongs to no layer: arithmetic on boxes, RoIs and scores, and the mask's channel. OpenVINO
# 2026.4 ends with a segmentation fault where the weights that are gathered for it are quantized.
ARITHMETIC = (
    "/(preprocess|rpn|boxes|masks|keypoints)/[A-Z].*",
    ".*/pooler/.*",
    ".*/conv_logits/(?!Conv).*",
    "[a-z_]+$",
)


def check_package() -> None:
    """Check that NNCF is installed.

    Raises:
        UserError: it is not.
    """
    try:
        import nncf  # noqa: F401
    except ImportError as error:
        raise UserError("--int8 needs nncf, which is not installed: run `pip install nncf`.") from (
            error
        )


def quantize(
    graph: openvino.Model,
    images: Iterable[np.ndarray],
    sensitive: Iterable[str] = SENSITIVE,
) -> openvino.Model:
    """Quantize convolutions and fully connected layers.

    Args:
        graph: float32.
        images: graph inputs (1, C, h, w) to measure the ranges of activations.
        sensitive: regular expressions of nodes that stay in float32.

    Raises:
        UserError: NNCF is not installed, or no image has detections for every branch.
    """
    check_package()
    import nncf

    inputs = _with_every_output(graph, images)
    nncf.set_log_level(logging.ERROR)
    return nncf.quantize(
        graph,
        nncf.Dataset(inputs),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(inputs),
        ignored_scope=nncf.IgnoredScope(patterns=[*sensitive, *ARITHMETIC], validate=False),
    )


def _with_every_output(graph: openvino.Model, images: Iterable[np.ndarray]) -> list[np.ndarray]:
    """Those images on which something is detected by every branch.

    The range of nothing at all is not a number, and spoils that of all other images.
    """
    import openvino

    compiled = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    kept = []
    for image in images:
        outputs = compiled({0: image})
        if all(outputs[i].size for i in range(len(compiled.outputs))):
            kept.append(image)
    if not kept:
        raise UserError(
            "the model detects nothing in the images of --calibration (or no keypoints): "
            "pass images like those that it will run on."
        )
    return kept

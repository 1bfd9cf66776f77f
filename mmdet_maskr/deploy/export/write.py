"""Writes a detector as an ONNX, TorchScript or OpenVINO file."""

from __future__ import annotations

import importlib.util
import tempfile
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from torch import nn

from mmdet_maskr.checksums import digest_of
from mmdet_maskr.deploy.export import accepted, metadata, onnx_kernels, script_kernels
from mmdet_maskr.deploy.export.graph import INPUT, ExportableDetector
from mmdet_maskr.deploy.files import FILES, clean, files_of, replace
from mmdet_maskr.errors import UserError
from mmdet_maskr.folders import check_writable

OPSETS = (onnx_kernels.MIN_OPSET, 20)  # RoiAlign as it is needed; what torch's exporter knows
DEFAULT_OPSET = 17
EXAMPLE = (224, 288)  # height and width of the image that is traced
# To write a format, and to run it; OpenVINO is converted from ONNX.
PACKAGES = dict(onnx=("onnx", "onnxruntime"), openvino=("onnx", "openvino"), torchscript=())


def check_format(form: str, opset: int = DEFAULT_OPSET) -> None:
    """Check that a format can be written, and run for the comparison with PyTorch.

    Raises:
        UserError: the format is unknown, the opset is not supported, or a package is missing.
    """
    if form not in FILES:
        raise UserError(f"--format must be one of {', '.join(FILES)}, not {form!r}.")
    if not OPSETS[0] <= opset <= OPSETS[1]:
        raise UserError(
            f"--opset must be {OPSETS[0]} to {OPSETS[1]}, not {opset}: RoiAlign with exact "
            f"pixel centers needs {OPSETS[0]}, and torch's exporter supports up to "
            f"{OPSETS[1]}."
        )
    missing = [name for name in PACKAGES[form] if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"--format {form} needs {' and '.join(missing)}: run `pip install {' '.join(missing)}`."
        )


def export(
    model: nn.Module,
    cfg: Config,
    dataset_meta: dict,
    folder: str | Path,
    form: str,
    opset: int = DEFAULT_OPSET,
    calibration: Iterable[np.ndarray] | None = None,
) -> None:
    """Write a detector to a folder that :func:`mmdet_maskr.deploy.load` opens.

    Args:
        model: the detector with its weights.
        cfg: its config; the test pipeline defines how images are resized.
        dataset_meta: names of classes and keypoints.
        folder: folder to write to; an older model in it is replaced when the new one is complete.
        form: 'onnx', 'torchscript' or 'openvino'.
        opset: ONNX opset; OpenVINO is converted from ONNX.
        calibration: graph inputs (1, C, h, w) to quantize an OpenVINO model to int8; None for
            float32.

    Raises:
        UserError: a part or option of the model cannot be exported, or the format cannot be
            written.
    """
    check_format(form, opset)
    if calibration is not None and form != "openvino":
        raise UserError(f"--int8 needs --format openvino, not {form}.")
    kernels = script_kernels if form == "torchscript" else onnx_kernels
    accepted.check_model(model)
    described = metadata.describe(model, cfg, dataset_meta)
    model = model.cpu().eval()
    detector = ExportableDetector(model, kernels).eval()
    folder = Path(folder)
    check_writable(folder, "the folder of the exported model")
    clean(folder)
    more: dict[str, Any] = dict(format=form, precision="fp32", outputs=detector.output_names)
    with tempfile.TemporaryDirectory(prefix=".export_", dir=folder) as sibling:
        new = Path(sibling)
        path = new / FILES[form]
        if form == "torchscript":
            _write_torchscript(detector, path)
        elif form == "onnx":
            write_onnx(detector, path, opset)
            more["opset"] = opset
        else:
            _write_openvino(detector, path, opset, calibration)
            if calibration is not None:
                more["precision"] = "int8"
        more["sha256"] = {name: digest_of(new / name) for name in files_of(form)}
        metadata.write(new, described, **more)
        replace(new, folder)


def _example(detector: ExportableDetector) -> torch.Tensor:
    """Noise of the size and the bands that a detector takes."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(1, detector.preprocess.bands, *EXAMPLE, generator=generator) * 255


def write_onnx(detector: ExportableDetector, path: Path, opset: int) -> None:
    """Write ONNX with standard operators, for any image size and number of detections."""
    names = detector.output_names
    axes = {INPUT: {2: "height", 3: "width"}}
    for name in names:
        axes[name] = {0: "with_keypoints" if name.startswith("heatmap") else "detections"}
    with torch.no_grad(), warnings.catch_warnings():
        # the tracer warns of every Python value; what they could spoil is compared afterwards
        warnings.simplefilter("ignore")
        torch.onnx.export(
            detector,
            (_example(detector),),
            str(path),
            dynamo=False,
            autograd_inlining=False,
            opset_version=opset,
            input_names=[INPUT],
            output_names=names,
            dynamic_axes=axes,
        )


def _write_torchscript(detector: ExportableDetector, path: Path) -> None:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(detector, (_example(detector),), check_trace=False)
        torch.jit.freeze(traced).save(str(path))


def _write_openvino(
    detector: ExportableDetector, path: Path, opset: int, calibration: Iterable[np.ndarray] | None
) -> None:
    import openvino

    between = path.with_suffix(".onnx")
    write_onnx(detector, between, opset)
    try:
        graph = openvino.convert_model(str(between))
        if calibration is not None:
            from mmdet_maskr.deploy.export.quantize import quantize

            graph = quantize(graph, calibration)
        openvino.save_model(graph, str(path), compress_to_fp16=False)
    finally:
        between.unlink()

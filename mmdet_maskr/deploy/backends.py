"""The libraries that run exported models, behind one call: image in, named arrays out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mmdet_maskr.errors import UserError

Run = Callable[[np.ndarray], Sequence[np.ndarray]]


def open_onnx(path: Path, device: str, threads: int | None) -> Run:
    """ONNX Runtime.

    Raises:
        UserError: it is not installed, or has no such device.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise _missing("onnx", "onnxruntime") from error
    provider = _choose(
        device, {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}, "ONNX Runtime"
    )
    if provider not in onnxruntime.get_available_providers():
        raise UserError(
            f"this onnxruntime has no {provider}: run `pip install onnxruntime-gpu`, or use "
            "device='cpu'."
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=[provider])
    name = session.get_inputs()[0].name
    return lambda image: session.run(None, {name: image})


def open_openvino(path: Path, device: str, threads: int | None) -> Run:
    """OpenVINO, in float32 except for quantized layers.

    Raises:
        UserError: it is not installed, or has no such device.
    """
    try:
        import openvino
    except ImportError as error:
        raise _missing("openvino", "openvino") from error
    name = _choose(device, {"cpu": "CPU", "gpu": "GPU"}, "OpenVINO")
    core = openvino.Core()
    if not any(found.startswith(name) for found in core.available_devices):
        raise UserError(
            f"OpenVINO cannot find {name}; available are {', '.join(core.available_devices)}."
        )
    options = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    if threads is not None and name == "CPU":
        options["INFERENCE_NUM_THREADS"] = str(threads)
    compiled = core.compile_model(str(path), name, options)
    request = compiled.create_infer_request()

    def run(image: np.ndarray) -> list[np.ndarray]:
        request.infer({0: image})
        # copies: the next image overwrites OpenVINO's own
        return [np.array(request.get_output_tensor(i).data) for i in range(len(compiled.outputs))]

    return run


def open_torchscript(path: Path, device: str, threads: int | None) -> Run:
    """PyTorch. ``threads`` applies to the whole process.

    Raises:
        UserError: it is not installed, or has no such device.
    """
    try:
        import torch
    except ImportError as error:
        raise _missing("torchscript", "torch") from error
    try:
        target = torch.device(device)
        model = torch.jit.load(str(path), map_location=target)
    except RuntimeError as error:
        reason = (str(error).splitlines() or [""])[0]
        raise UserError(f"device={device!r} cannot be used with PyTorch: {reason}") from error
    if threads is not None:
        torch.set_num_threads(threads)

    def run(image: np.ndarray) -> list[np.ndarray]:
        with torch.inference_mode():
            outputs = model(torch.from_numpy(image).to(target))
        return [output.cpu().numpy() for output in outputs]

    return run


OPENERS = dict(onnx=open_onnx, openvino=open_openvino, torchscript=open_torchscript)


def _choose(device: str, accepted: dict[str, str], library: str) -> str:
    if device not in accepted:
        raise UserError(f"device must be one of {tuple(accepted)} for {library}, not {device!r}.")
    return accepted[device]


def _missing(form: str, package: str) -> UserError:
    return UserError(
        f"a model of format {form!r} needs {package}, which is not installed: run "
        f"`pip install {package}`."
    )

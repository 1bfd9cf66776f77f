"""What is installed and works on a machine, as text for bug reports."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from importlib import metadata

import torch
from mmcv.ops import get_compiler_version, get_compiling_cuda_version, nms, roi_align
from mmdet import registry as mmdet_registry
from mmengine.registry import Registry

from mmdet_maskr import mmcv_extension
from mmdet_maskr.compat import check_dependencies, installed_version
from mmdet_maskr.platforms import usable_cpus
from mmdet_maskr.version import __version__

STACK = ("mmengine", "mmcv", "mmdet")
NEEDED = ("numpy", "opencv-python", "opencv-python-headless", "pycocotools", "matplotlib")
OPTIONAL = (
    "hotcoco",
    "faster-coco-eval",
    "lvis",
    "cityscapesScripts",
    "torchvision",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "nncf",
    "gradio",
)


def describe() -> str:
    """:func:`sections` as text."""
    lines = []
    for title, rows in sections().items():
        lines += [title, *(f"  {name + ':':<20} {value}" for name, value in rows.items()), ""]
    return "\n".join(lines).rstrip()


def sections() -> dict[str, dict[str, str]]:
    """Versions, devices, which of MMCV's ops run on them, and this package's registered parts."""
    return {
        "Versions": versions(),
        "Devices": devices(),
        "MMCV's ops": ops(),
        "Registered": parts(),
    }


def versions() -> dict[str, str]:
    """Of this package, Python, torch, OpenMMLab's packages and those that are optional."""
    stack = check_dependencies()
    found = {
        "mmdet_maskr": __version__,
        "Python": f"{platform.python_version()}, {platform.platform(terse=True)}",
        "torch": str(torch.__version__),
        **{name: f"{installed_version(name)} ({stack})" for name in STACK},
    }
    for name in NEEDED:
        version = metadata_version(name)
        if version is not None:
            found[name] = version
    optional = {name: metadata_version(name) for name in OPTIONAL}
    there = [f"{name} {version}" for name, version in optional.items() if version is not None]
    found["optional"] = ", ".join(there) or "none"
    found["not installed"] = ", ".join(n for n, version in optional.items() if version is None)
    return found


def metadata_version(distribution: str) -> str | None:
    """Version of an installed distribution, or None."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def devices() -> dict[str, str]:
    """CPU, and what torch sees besides."""
    capability = torch.backends.cpu.get_cpu_capability()
    found = {
        "CPU": f"{platform.machine()}, {usable_cpus()} of {os.cpu_count()} cores usable, "
        f"{capability}, torch uses {torch.get_num_threads()} threads"
    }
    if not torch.cuda.is_available():
        built = torch.version.cuda or torch.version.hip
        found["CUDA"] = (
            f"none (torch is built for {built}, but finds no device)"
            if built
            else "none (torch is built for CPUs alone)"
        )
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        found[f"CUDA {index}"] = (
            f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB, sm_{facts.major}{facts.minor}, "
            f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
        )
    if torch.backends.mps.is_available():
        found["MPS"] = "there"
    return found


def ops() -> dict[str, str]:
    """What computes MMCV's ops, and whether NMS and RoIAlign run on each device."""
    found = {"computed by": mmcv_extension.serving()}
    if mmcv_extension.is_compiled():
        found |= {"compiler": get_compiler_version(), "CUDA": get_compiling_cuda_version()}
    accelerators = dict(cuda=torch.cuda.is_available(), mps=torch.backends.mps.is_available())
    for device in ("cpu", *(name for name, there in accelerators.items() if there)):
        results = [f"{name} {_tried(op, device)}" for name, op in _PROBES.items()]
        found[f"on {device}"] = ", ".join(results)
    return found


def parts() -> dict[str, str]:
    """Names of this package's classes, by the registry of mmdet that they are in."""
    found = {}
    for name, entry in sorted(vars(mmdet_registry).items()):
        if isinstance(entry, Registry):
            entry.import_from_location()
            own = [
                key
                for key, value in entry.module_dict.items()
                if getattr(value, "__module__", "").startswith("mmdet_maskr.")
            ]
            if own:
                found[name] = ", ".join(sorted(own))
    return found


def _nms(device: str) -> bool:
    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 8], [20, 20, 29, 29]], device=device)
    kept = nms(boxes, torch.tensor([0.5, 0.9, 0.7], device=device), 0.5)[1]
    return kept.tolist() == [1, 2]


def _roi_align(device: str) -> bool:
    image = torch.full((1, 1, 8, 8), 3.0, device=device)
    rois = torch.tensor([[0.0, 1, 1, 6, 6]], device=device)
    return bool(torch.allclose(roi_align(image, rois, (2, 2)), torch.tensor(3.0, device=device)))


_PROBES = dict(nms=_nms, roi_align=_roi_align)


def _tried(op: Callable[[str], bool], device: str) -> str:
    try:
        return "works" if op(device) else "gives wrong numbers"
    except Exception as error:  # of any kind: that is what is to be found out
        return f"fails ({(str(error).splitlines() or [type(error).__name__])[0][:80]})"

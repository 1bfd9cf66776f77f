"""ResNets whose bottleneck width does not follow from their output width.

In mmdet a bottleneck of width w gives 4 w channels, or w / 2 to w in a ResNeXt. Detectron2's
WIDTH_PER_GROUP and RES2_OUT_CHANNELS and torchvision's width_per_group are free: Wide ResNets, for
one, have 2 w.
"""

from __future__ import annotations

from mmdet.models.backbones import ResNet
from mmdet.models.backbones.resnext import Bottleneck
from mmdet.models.layers import ResLayer
from mmdet.registry import MODELS
from mmdet.utils import ConfigType, OptMultiConfig
from mmengine.model import BaseModule
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from mmdet_maskr.errors import UserError

DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def bottleneck(width: int, out_channels: int) -> type[Bottleneck]:
    """A bottleneck block that gives out_channels / width times its width.

    Raises:
        UserError: the one is no multiple of the other.
    """
    if width <= 0 or out_channels % width:
        raise UserError(
            f"out_channels={out_channels} must be a multiple of the bottleneck's width "
            f"base_channels={width}."
        )
    return type("Bottleneck", (Bottleneck,), dict(expansion=out_channels // width))


def check_stages(depth: int, base_channels: int, groups: int) -> None:
    """Check what both classes take.

    Raises:
        UserError: another depth, or a width that cannot be split into groups.
    """
    if depth not in DEPTHS:
        raise UserError(f"depth must be one of {list(DEPTHS)}, not {depth!r}.")
    if groups < 1 or base_channels % groups:
        raise UserError(f"groups={groups} must divide base_channels={base_channels}.")


@MODELS.register_module()
class FreeWidthResNet(ResNet):
    """mmdet's ResNet with bottlenecks of any width and number of groups; its parameter names.

    Args:
        depth: 50, 101 or 152.
        base_channels: width of the first stage's bottlenecks, all groups together.
        out_channels: channels that the first stage gives, a multiple of ``base_channels``. Both
            double from stage to stage.
        groups: of the 3x3 convolutions.
        kwargs: options of ResNet.

    Raises:
        UserError: an unknown depth, widths that do not fit.
    """

    def __init__(
        self,
        depth: int,
        base_channels: int = 64,
        out_channels: int = 256,
        groups: int = 1,
        **kwargs,
    ) -> None:
        check_stages(depth, base_channels, groups)
        self.arch_settings = {depth: (bottleneck(base_channels, out_channels), DEPTHS[depth])}
        self.groups = groups
        super().__init__(depth, base_channels=base_channels, **kwargs)

    def make_res_layer(self, **kwargs) -> ResLayer:
        """One stage."""
        return ResLayer(groups=self.groups, base_width=1, base_channels=self.groups, **kwargs)


@MODELS.register_module()
class FreeWidthStage(BaseModule):
    """One stage of a FreeWidthResNet as the head that RoIs share: the C4 body's res5.

    Has the parameter names of mmdet's shared head ResLayer, which knows ResNet's own widths only.

    Args:
        depth: 50, 101 or 152.
        stage: index of the stage, 0 to 3.
        stride: of the first block; 2 in Detectron2, 1 in the paper.
        base_channels, out_channels, groups: as for :class:`FreeWidthResNet`, of its first stage.
        dilation: of the 3x3 convolutions.
        style: 'caffe' strides in the 1x1 convolution, 'pytorch' in the 3x3.
        norm_cfg: normalisation.
        norm_eval: keep its statistics when training.
        init_cfg: initial weights.

    Raises:
        UserError: an unknown depth, widths that do not fit.
    """

    def __init__(
        self,
        depth: int,
        stage: int = 3,
        stride: int = 2,
        base_channels: int = 64,
        out_channels: int = 256,
        groups: int = 1,
        dilation: int = 1,
        style: str = "pytorch",
        norm_cfg: ConfigType | None = None,
        norm_eval: bool = True,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        check_stages(depth, base_channels, groups)
        if init_cfg is None:
            init_cfg = [
                dict(type="Kaiming", layer="Conv2d"),
                dict(type="Constant", val=1, layer=["_BatchNorm", "GroupNorm"]),
            ]
        super().__init__(init_cfg)
        self.stage = stage
        self.norm_eval = norm_eval
        layer = ResLayer(
            bottleneck(base_channels, out_channels),
            out_channels * 2 ** (stage - 1),
            base_channels * 2**stage,
            DEPTHS[depth][stage],
            stride=stride,
            dilation=dilation,
            style=style,
            norm_cfg=norm_cfg or dict(type="BN", requires_grad=True),
            groups=groups,
            base_width=1,
            base_channels=groups,
        )
        self.add_module(f"layer{stage + 1}", layer)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, s, s) RoI features -> (N, 2 C, s / stride, s / stride)."""
        return getattr(self, f"layer{self.stage + 1}")(x)

    def train(self, mode: bool = True) -> FreeWidthStage:
        """Training mode, in which normalisation keeps its statistics with ``norm_eval``."""
        super().train(mode)
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

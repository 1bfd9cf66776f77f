"""ResNets whose bottleneck width does not follow from their output width.

In mmdet, a bottleneck of width w returns 4 w channels (in a ResNeXt, w / 2 to w). With Detectron2's
WIDTH_PER_GROUP and RES2_OUT_CHANNELS and torchvision's width_per_group, any ratio is possible: Wide
ResNets have 2 w.
"""

from __future__ import annotations

from mmdet.models.backbones import ResNet
from mmdet.models.backbones.resnext import Bottleneck
from mmdet.models.layers import ResLayer
from mmdet.registry import MODELS

from mmdet_maskr.errors import UserError

DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def bottleneck(width: int, out_channels: int) -> type[Bottleneck]:
    """A bottleneck block whose expansion is out_channels / width.

    Raises:
        UserError: out_channels is not a multiple of width.
    """
    if width <= 0 or out_channels % width:
        raise UserError(
            f"out_channels={out_channels} must be a multiple of the bottleneck's width "
            f"base_channels={width}."
        )
    return type("Bottleneck", (Bottleneck,), dict(expansion=out_channels // width))


def check_stages(depth: int, base_channels: int, groups: int) -> None:
    """Check the options of both classes.

    Raises:
        UserError: the depth is unknown, or the groups do not divide the width.
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
        out_channels: output channels of the first stage, a multiple of ``base_channels``. Both
            double from stage to stage.
        groups: of the 3x3 convolutions.
        kwargs: options of ResNet.

    Raises:
        UserError: the depth is unknown, or the widths do not fit.
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

"""The last stage of a ResNet in the RoI head: C4 backbones (He et al. 2017, Figure 4 left)."""

from __future__ import annotations

from mmdet.models.backbones import ResNet
from mmdet.models.layers import ResLayer
from mmdet.registry import MODELS
from mmdet.utils import ConfigType, OptMultiConfig
from mmengine.model import BaseModule
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from mmdet_maskr.errors import UserError
from mmdet_maskr.models.backbones.resnet import DEPTHS, bottleneck, check_stages


@MODELS.register_module()
class Res5Head(BaseModule):
    """res5 on RoI features: mmdet's shared head ResLayer, for backbones of any width.

    Parameters are named ``layer4.*`` as in the backbone, so that ``init_cfg=dict(
    type='Pretrained', checkpoint=...)`` takes the backbone's own file. Without it res5 is random.

    Args:
        depth: of the ResNet: 18, 34, 50, 101 or 152.
        stage: 3 for res5, whose parameters are ``layer4.*``; 1 and 2 for res3 and res4.
        stride: 1 for the paper's form on 7x7 RoIs, 2 for Detectron2's on 14x14.
        dilation: of the 3x3 convolutions.
        style: 'pytorch' (stride in the 3x3 convolution) or 'caffe' (in the 1x1 before it).
        norm_cfg: type of the normalization; default batch normalization.
        norm_eval: keep running statistics fixed in training.
        with_cp: compute activations again for the gradients, to save memory.
        dcn: deformable convolutions in place of the 3x3 ones.
        pretrained: file of weights, ResLayer's old name for ``init_cfg`` of type 'Pretrained'.
        init_cfg: default: Kaiming's initialization.
        base_channels: of the ResNet; 64 unless the backbone was thinned.
        out_channels, groups: of a :class:`.FreeWidthResNet`; None for those of a ResNet.

    Raises:
        UserError: a depth, stage or widths that no ResNet has; both ``pretrained`` and
            ``init_cfg``.
    """

    def __init__(
        self,
        depth: int,
        stage: int = 3,
        stride: int = 2,
        dilation: int = 1,
        style: str = "pytorch",
        norm_cfg: ConfigType | None = None,
        norm_eval: bool = True,
        with_cp: bool = False,
        dcn: ConfigType | None = None,
        pretrained: str | None = None,
        init_cfg: OptMultiConfig = None,
        base_channels: int = 64,
        out_channels: int | None = None,
        groups: int | None = None,
    ) -> None:
        if stage not in (1, 2, 3):
            raise UserError(f"shared_head.stage must be 1, 2 or 3 (res5), not {stage!r}.")
        if pretrained is not None:
            if init_cfg is not None:
                raise UserError(
                    "shared_head has both pretrained and init_cfg: leave pretrained out."
                )
            init_cfg = dict(type="Pretrained", checkpoint=pretrained)
        if init_cfg is None:
            init_cfg = [
                dict(type="Kaiming", layer="Conv2d"),
                dict(type="Constant", val=1, layer=["_BatchNorm", "GroupNorm"]),
            ]
        super().__init__(init_cfg)
        self.stage = stage
        self.norm_eval = norm_eval
        of_groups = {}
        if out_channels is None and groups is None:
            if depth not in ResNet.arch_settings:
                raise UserError(
                    f"shared_head.depth must be one of {list(ResNet.arch_settings)}, not {depth!r}."
                )
            block, blocks = ResNet.arch_settings[depth]
        else:
            groups = groups or 1
            check_stages(depth, base_channels, groups)
            block, blocks = bottleneck(base_channels, out_channels or 256), DEPTHS[depth]
            of_groups = dict(groups=groups, base_width=1, base_channels=groups)
        planes = base_channels * 2**stage
        layer = ResLayer(
            block,
            planes // 2 * block.expansion,
            planes,
            blocks[stage],
            stride=stride,
            dilation=dilation,
            style=style,
            with_cp=with_cp,
            norm_cfg=norm_cfg or dict(type="BN", requires_grad=True),
            dcn=dcn,
            **of_groups,
        )
        self.add_module(f"layer{stage + 1}", layer)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, s, s) RoI features -> (N, 2 C, s / stride, s / stride)."""
        return getattr(self, f"layer{self.stage + 1}")(x)

    def train(self, mode: bool = True) -> Res5Head:
        """Training mode, in which normalization keeps its statistics with ``norm_eval``."""
        super().train(mode)
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self


@MODELS.register_module()
class FreeWidthStage(Res5Head):
    """:class:`Res5Head` of a :class:`.FreeWidthResNet`, whose defaults it has."""

    def __init__(
        self,
        depth: int,
        stage: int = 3,
        stride: int = 2,
        base_channels: int = 64,
        out_channels: int = 256,
        groups: int = 1,
        **kwargs,
    ) -> None:
        super().__init__(
            depth,
            stage,
            stride,
            base_channels=base_channels,
            out_channels=out_channels,
            groups=groups,
            **kwargs,
        )

"""The last stage of a ResNet as part of the RoI head: C4 bodies (He et al. 2017, Figure 4 left)."""

from __future__ import annotations

from mmdet.models.backbones import ResNet
from mmdet.models.layers import ResLayer
from mmdet.models.roi_heads.shared_heads import ResLayer as ResLayerHead
from mmdet.registry import MODELS
from mmdet.utils import ConfigType, OptMultiConfig
from mmengine.model import BaseModule

from mmdet_maskr.errors import UserError


@MODELS.register_module()
class Res5Head(ResLayerHead):
    """res5 on RoI features: mmdet's ResLayer, for bodies of any width.

    Parameters are named ``layer4.*`` as in the backbone, so that ``init_cfg=dict(
    type='Pretrained', checkpoint=...)`` takes the backbone's own file. Without it res5 is random.

    Args:
        depth: of the ResNet: 18, 34, 50, 101 or 152.
        stage: 3 for res5, whose parameters are ``layer4.*``; 1 and 2 for res3 and res4.
        stride: 1 for the paper's form on 7x7 RoIs, 2 for Detectron2's on 14x14.
        dilation: of the 3x3 convolutions.
        style: 'pytorch' (stride in the 3x3 convolution) or 'caffe' (in the 1x1 before it).
        norm_cfg: type of the normalisation; default batch normalisation.
        norm_eval: keep running statistics fixed in training.
        with_cp: compute activations again for the gradients, to save memory.
        dcn: deformable convolutions in place of the 3x3 ones.
        pretrained: file of weights, ResLayer's old name for ``init_cfg`` of type 'Pretrained'.
        init_cfg: default: Kaiming's initialisation.
        base_channels: of the ResNet; 64 unless the backbone was thinned.

    Raises:
        UserError: a depth or stage that no ResNet has; both ``pretrained`` and ``init_cfg``.
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
    ) -> None:
        if depth not in ResNet.arch_settings:
            raise UserError(
                f"shared_head.depth must be one of {list(ResNet.arch_settings)}, not {depth!r}."
            )
        if stage not in (1, 2, 3):
            raise UserError(f"shared_head.stage must be 1, 2 or 3 (res5), not {stage!r}.")
        if pretrained is not None:
            if init_cfg is not None:
                raise UserError("shared_head has pretrained and init_cfg: leave pretrained out.")
            init_cfg = dict(type="Pretrained", checkpoint=pretrained)
        if init_cfg is None:
            init_cfg = [
                dict(type="Kaiming", layer="Conv2d"),
                dict(type="Constant", val=1, layer=["_BatchNorm", "GroupNorm"]),
            ]
        BaseModule.__init__(self, init_cfg)  # mmdet's own would build 64 channels
        self.stage = stage
        self.norm_eval = norm_eval
        block, blocks = ResNet.arch_settings[depth]
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
        )
        self.add_module(f"layer{stage + 1}", layer)

    def train(self, mode: bool = True) -> Res5Head:
        """Training mode, in which ``norm_eval`` keeps the statistics; returns itself."""
        super().train(mode)  # mmdet's returns None
        return self

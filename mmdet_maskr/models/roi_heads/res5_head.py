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
        base_channels: of the ResNet; 64 unless the backbone was thinned.
        stride: 1 for the paper's form on 7x7 RoIs, 2 for Detectron2's on 14x14.
        style: 'pytorch' (stride in the 3x3 convolution) or 'caffe' (in the 1x1 before it).
        norm_cfg: type of the normalisation; default batch normalisation.
        norm_eval: keep running statistics fixed in training.
        init_cfg: default: Kaiming's initialisation.

    Raises:
        UserError: a depth that no ResNet has.
    """

    def __init__(
        self,
        depth: int,
        base_channels: int = 64,
        stride: int = 2,
        style: str = "pytorch",
        norm_cfg: ConfigType | None = None,
        norm_eval: bool = True,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        if depth not in ResNet.arch_settings:
            raise UserError(
                f"shared_head.depth must be one of {list(ResNet.arch_settings)}, not {depth!r}."
            )
        if init_cfg is None:
            init_cfg = [
                dict(type="Kaiming", layer="Conv2d"),
                dict(type="Constant", val=1, layer=["_BatchNorm", "GroupNorm"]),
            ]
        BaseModule.__init__(self, init_cfg)  # mmdet's own would build 64 channels
        self.stage = 3
        self.norm_eval = norm_eval
        block, blocks = ResNet.arch_settings[depth]
        self.layer4 = ResLayer(
            block,
            base_channels * 4 * block.expansion,
            base_channels * 8,
            blocks[3],
            stride=stride,
            style=style,
            norm_cfg=norm_cfg or dict(type="BN", requires_grad=True),
        )

    def train(self, mode: bool = True) -> Res5Head:
        """Training mode, in which ``norm_eval`` keeps the statistics; returns itself."""
        super().train(mode)  # mmdet's returns None
        return self

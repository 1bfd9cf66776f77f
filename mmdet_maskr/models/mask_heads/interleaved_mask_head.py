"""ComposedMaskHead with the link between stages for Hybrid Task Cascade."""

from __future__ import annotations

from mmcv.cnn import ConvModule
from mmdet.registry import MODELS
from torch import Tensor

from mmdet_maskr.errors import UserError
from mmdet_maskr.models.mask_heads.conv_mask_head import ConvMaskHead


@MODELS.register_module()
class InterleavedMaskHead(ConvMaskHead):
    """ComposedMaskHead for mmdet's HybridTaskCascadeRoIHead (Chen et al. 2019, section 3.2).

    That RoI head passes features from the mask head of one stage to the next, and asks for
    features, logits or both. Other mask heads do not support this. Parameter names are those of
    HTCMaskHead.

    Args:
        with_conv_res: whether the head gets features of the previous stage (all stages except the
            first).
        options: ComposedMaskHead's, with ``tower='fcn'`` and ``activation='sigmoid'``.

    Raises:
        UserError: the tower or activation is not supported.
    """

    def __init__(self, with_conv_res: bool = True, **options) -> None:
        if options.get("tower", "fcn") != "fcn":
            raise UserError(f"InterleavedMaskHead needs tower='fcn', not {options['tower']!r}.")
        super().__init__(**options)
        if self.activation != "sigmoid":
            raise UserError(
                "InterleavedMaskHead needs activation='sigmoid', which its RoI head applies to "
                f"the logits, not {self.activation!r}."
            )
        self.with_conv_res = with_conv_res
        if with_conv_res:
            width = self.convs.out_channels
            self.conv_res = ConvModule(
                width, width, 1, conv_cfg=options.get("conv_cfg"), norm_cfg=options.get("norm_cfg")
            )

    def forward(
        self,
        x: Tensor,
        res_feat: Tensor | None = None,
        return_logits: bool = True,
        return_feat: bool = True,
    ) -> Tensor | list[Tensor]:
        """Logits, features of the tower, or both.

        Args:
            x: (N, C, s, s) RoI features.
            res_feat: (N, W, s, s) features of the previous stage.
            return_logits: return logits (N, K, m, m).
            return_feat: return features (N, W, s, s).

        Returns:
            The requested output; if both, a list with the logits first.

        Raises:
            UserError: no output is requested, or a head without ``conv_res`` gets features.
        """
        if not (return_logits or return_feat):
            raise UserError(
                "InterleavedMaskHead must return logits, features or both: set "
                "return_logits=True or return_feat=True."
            )
        if res_feat is not None and not self.with_conv_res:
            raise UserError(
                "InterleavedMaskHead with with_conv_res=False takes no res_feat: it is the first "
                "stage's."
            )
        if res_feat is not None:
            x = x + self.conv_res(res_feat)
        features = self.convs(x)
        outs = []
        if return_logits:
            outs.append(self.upsample_and_predict(features, None))
        if return_feat:
            outs.append(features)
        return outs if len(outs) == 2 else outs[0]

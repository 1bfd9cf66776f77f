"""A learning rate that decays from the last layer of the backbone to its first."""

from __future__ import annotations

from typing import Any

from mmdet.registry import OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from mmdet_maskr.errors import UserError


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class BackboneLayerDecayConstructor(DefaultOptimWrapperConstructor):
    """``optim_wrapper=dict(constructor='BackboneLayerDecayConstructor', ...)``.

    A parameter of the backbone has the learning rate times ``decay_rate`` to the power of the
    number of layers behind it; neck and heads have the whole (Clark et al. 2020, ELECTRA; Li et
    al. 2022, ViTDet). The backbone's ``layer_ids`` tell the layers: TimmBackbone has it.

    Args:
        optim_wrapper_cfg: as in mmengine.
        paramwise_cfg: as in mmengine, with ``decay_rate`` of at most 1; the others come first.

    Raises:
        UserError: no ``decay_rate`` between 0 and 1; later, a backbone that does not tell its
            layers.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        options = dict(paramwise_cfg or {})
        self.decay_rate = options.pop("decay_rate", None)
        if not isinstance(self.decay_rate, int | float) or not 0 < self.decay_rate <= 1:
            raise UserError(
                "optim_wrapper.paramwise_cfg.decay_rate of BackboneLayerDecayConstructor must be "
                f"above 0 and at most 1, not {self.decay_rate!r}."
            )
        # mmengine looks for its own options only where there are some
        super().__init__(optim_wrapper_cfg, {"custom_keys": {}, **options})

    def add_params(
        self, params: list[dict[str, Any]], module: nn.Module, prefix: str = "", **options: Any
    ) -> None:
        """Add a group for each parameter of a module."""
        super().add_params(params, module, prefix=prefix, **options)
        if prefix:
            return  # a part, of which the whole model takes care
        backbone = getattr(module, "backbone", None)
        if backbone is None or not hasattr(backbone, "layer_ids"):
            raise UserError(
                "optim_wrapper.constructor='BackboneLayerDecayConstructor' needs a backbone "
                f"that lists its layers, and {type(backbone).__name__} does not: use custom_keys "
                "with lr_mult, as configs/_base_/schedules/schedule_100e_vit-b.py does."
            )
        depths = backbone.layer_ids()
        last = max(depths.values())
        by_id = {id(p): depths[name] for name, p in backbone.named_parameters()}
        for group in params:
            depth = by_id.get(id(group["params"][0]))
            if depth is not None:
                group["lr"] = group.get("lr", self.base_lr) * self.decay_rate ** (last + 1 - depth)

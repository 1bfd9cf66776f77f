"""Any timm model that returns feature maps, as a backbone.

timm is optional, and imports torchvision: ``pip install "mmdet-maskr[timm]"``.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from mmdet.registry import MODELS
from mmdet.utils import OptMultiConfig
from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmdet_maskr.errors import MissingPackageError, UserError
from mmdet_maskr.models.backbones.pretrained_state import (
    check_state,
    load_state,
    pretrained_of,
    read_state,
)

SCHEME = "timm://"
OWN = "body."  # beginning of the parameters' names in this class
FINEST = 4  # stride of the finest map that FPN takes, where nothing else is said
NHWC = "NHWC"


def import_timm() -> Any:
    """The package.

    Raises:
        MissingPackageError: it, or torchvision, which it imports, is not installed.
    """
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"TimmBackbone needs timm and torchvision, and there is no {error.name}: run `pip "
            'install "mmdet-maskr[timm]"`.'
        ) from error


def _is_within(name: str, names: Sequence[str]) -> bool:
    return any(name == other or name.startswith(f"{other}.") for other in names)


@MODELS.register_module()
class TimmBackbone(BaseModule):
    """A model of timm with ``features_only``: ConvNeXt, MobileNetV4, MViTv2, Swin V2, ...

    ``channels`` and ``strides`` describe the output feature maps. Maps are always (B, C, H, W),
    also for models with another memory order.

    Args:
        model_name: name of the architecture in timm.
        out_indices: timm's indices of the feature maps to return; None for all from stride 4.
        in_channels: bands of the images.
        frozen_stages: freeze this number of timm's stages and all layers before them; 0 or -1 for
            none.
        norm_eval: keep the batch normalization statistics fixed in training.
        drop_path_rate: stochastic depth of timm.
        with_cp: activation checkpointing, if the model supports it.
        options: further options of the timm model, such as ``dict(strict_img_size=False)`` for Swin
            V2 and images of any size.
        init_cfg: ``dict(type='Pretrained', checkpoint='timm://')`` for timm's default weights of
            the model, ``'timm://convnext_tiny.in12k'`` for other weights of the same architecture,
            or a file with timm's parameter names (.pth or .safetensors). Weights that do not fit
            are an error; the classifier may be unused. timm adapts the stem to ``in_channels``.

    Raises:
        MissingPackageError: timm is not installed.
        UserError: timm does not have the model, or the model has no feature maps or other options.
    """

    def __init__(
        self,
        model_name: str,
        out_indices: Sequence[int] | None = None,
        in_channels: int = 3,
        frozen_stages: int = -1,
        norm_eval: bool = True,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        options: Mapping[str, Any] | None = None,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(init_cfg)
        self.model_name = model_name
        self.in_channels = in_channels
        self.norm_eval = norm_eval
        self.options = dict(options or {})
        if drop_path_rate:
            self.options["drop_path_rate"] = drop_path_rate
        self.out_indices = None if out_indices is None else tuple(out_indices)
        self.body = self._features()
        info = self.body.feature_info
        first = 0
        if out_indices is None:
            first = next((i for i, s in enumerate(info.reduction()) if s >= FINEST), 0)
        self.first = first
        self.channels = tuple(info.channels()[first:])
        self.strides = tuple(info.reduction()[first:])
        self.is_nhwc = getattr(self.body, "output_fmt", None) == NHWC
        self.frozen = self._until(frozen_stages)
        self._leave_out_unused()
        if with_cp:
            self._save_memory()

    def _features(self, name: str | None = None, **options: Any) -> nn.Module:
        if self.out_indices is not None:
            options["out_indices"] = self.out_indices
        return self._create(name or self.model_name, features_only=True, **options)

    def _create(self, name: str, **options: Any) -> nn.Module:
        """A model of timm.

        Raises:
            UserError: there is none of this name, or not with these options.
        """
        timm = import_timm()
        architecture = name.split(".")[0]
        if ":" in name or not timm.is_model(architecture):
            close = difflib.get_close_matches(architecture, timm.list_models(), n=3)
            hint = f": did you mean {' or '.join(close)}?" if close else "."
            raise UserError(f"timm {timm.__version__} has no model {name}{hint}")
        try:
            return timm.create_model(
                name, **{"in_chans": self.in_channels, **self.options, **options}
            )
        except (AssertionError, AttributeError, KeyError, RuntimeError, TypeError, ValueError) as e:
            if "meta tensors" in str(e):
                raise  # whoever builds on that device builds anew on another
            given = {**self.options, **options}
            maps = given.pop("features_only", False)
            what = "gives no feature maps, or not" if maps else "is not made"
            reason = (str(e).splitlines() or [type(e).__name__])[0]
            raise UserError(
                f"model.backbone: timm's {name} {what} with the options {given}: {reason}"
            ) from e

    def _until(self, stages: int) -> list[nn.Module]:
        """Modules up to the last one of a stage, by the order in which timm registers them.

        Raises:
            UserError: there are fewer stages, or timm's name of it is not a module's.
        """
        info = self.body.feature_info.info
        if stages > len(info):
            raise UserError(
                f"backbone.frozen_stages={stages}: {self.model_name} has {len(info)} maps."
            )
        if stages <= 0:
            return []
        last = info[stages - 1]["module"]
        # timm names the parts of its feature models in one of these ways
        names = (last, last.replace(".", "_"), f"model.{last}")
        modules = list(self.body.named_modules())
        inside = [i for i, (name, _) in enumerate(modules) if _is_within(name, names)]
        if not inside:
            raise UserError(
                f"backbone.frozen_stages={stages}: timm does not say where {last} of "
                f"{self.model_name} is. Use BackboneLayerDecayConstructor to lower the learning "
                "rate of its first layers instead."
            )
        return [module for _, module in modules[: inside[-1] + 1]]

    def _leave_out_unused(self) -> None:
        """Train no layers behind the last map, which timm leaves in some models."""
        info = self.body.feature_info
        last = max(i if i >= 0 else len(info.info) + i for i in info.out_indices)
        if last < len(info.info) - 1:
            used = {id(p) for m in self._until(last + 1) for p in m.parameters(recurse=False)}
            for parameter in self.body.parameters():
                if id(parameter) not in used:
                    parameter.requires_grad_(False)

    def _save_memory(self) -> None:
        enable = getattr(self.body, "set_grad_checkpointing", None)
        if enable is None:
            raise UserError(
                f"backbone.with_cp: {self.model_name} does not support checkpointing "
                "(with_cp=True)."
            )
        enable(True)

    # ------------------------------------------------------------------------------------- weights
    def init_weights(self) -> None:
        """timm's initialization, or pretrained weights.

        Raises:
            UserError: the weights cannot be loaded, or belong to another model.
        """
        pretrained = pretrained_of(self.init_cfg)
        if pretrained is not None:
            if pretrained["checkpoint"].startswith(SCHEME):
                self._load_named(pretrained["checkpoint"].removeprefix(SCHEME) or self.model_name)
            else:
                self._load_file(read_state(pretrained), pretrained["checkpoint"])
        self._is_init = True

    def _load_named(self, name: str) -> None:
        if name.split(".")[0] != self.model_name.split(".")[0]:
            raise UserError(
                f"model.backbone.init_cfg: {SCHEME}{name} has the weights of another model than "
                f"model_name={self.model_name}."
            )
        try:
            source = self._features(name, pretrained=True)
        except Exception as error:  # without a network it ends in errors of many types
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"timm's weights {name} cannot be loaded ({reason}). Use a file instead: "
                "model.backbone.init_cfg.checkpoint=FILE, or init_cfg=None to start from random "
                "weights."
            ) from error
        self.body.load_state_dict(source.state_dict())
        print_log(f"backbone weights loaded from timm's {name}", logger="current")

    def _load_file(self, state: dict[str, Tensor], source: str) -> None:
        """Weights with timm's names of the whole model, or with those of this class."""
        if all(name.startswith(OWN) for name in state):
            load_state(self, state, (), source)
            return
        whole = self._create(self.model_name, in_chans=3)
        classifier = whole.pretrained_cfg.get("classifier") or ()
        names = (classifier,) if isinstance(classifier, str) else tuple(classifier)
        spare = tuple(f"{name}." for name in names)
        wanted = {n: v for n, v in whole.state_dict().items() if not n.startswith(spare)}
        left = check_state(wanted, self._renamed(state, whole), spare, source)
        overlay = dict(state_dict=state)
        self.body.load_state_dict(
            self._features(pretrained=True, pretrained_cfg_overlay=overlay).state_dict()
        )
        unused = f"; not used: {', '.join(left)}" if left else ""
        print_log(f"backbone weights loaded from {source}{unused}", logger="current")

    def _renamed(self, state: dict[str, Tensor], whole: nn.Module) -> dict[str, Tensor]:
        """What timm makes of published files, some of which have other names."""
        module = importlib.import_module(type(whole).__module__)
        rename = getattr(module, "checkpoint_filter_fn", None)
        if rename is None:
            return state
        try:
            return rename(dict(state), whole)
        except TypeError:  # an older one, of the state alone
            return rename(dict(state))

    def layer_ids(self) -> dict[str, int]:
        """Depth of each parameter, 0 for the stem, for layer-wise learning rate decay.

        Raises:
            UserError: timm does not list the layers of this model.
        """
        whole = self._create(self.model_name)
        matcher = getattr(whole, "group_matcher", None)
        if matcher is None:
            raise UserError(f"timm does not list the layers of {self.model_name}.")
        models = importlib.import_module("timm.models")
        depths = models.group_parameters(whole, matcher(coarse=False), reverse=True)
        ids = {}
        for full, depth in depths.items():
            for name in (full, full.replace(".", "_", 1), f"model.{full}"):
                ids[name] = int(depth)
        own = [name for name, _ in self.body.named_parameters()]
        lacking = [name for name in own if name not in ids]
        if lacking:
            raise UserError(f"timm does not say which layer has {lacking[0]} of {self.model_name}.")
        return {OWN + name: ids[name] for name in own}

    # ------------------------------------------------------------------------------------- forward
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images (B, ``in_channels``, H, W) -> feature maps with ``channels`` at ``strides``.

        Raises:
            UserError: the model does not accept images of this size.
        """
        try:
            maps = self.body(x)
        except (AssertionError, IndexError) as error:  # of a size that its tables do not have
            raise UserError(
                f"timm's {self.model_name} refuses images of {x.shape[3]} x {x.shape[2]} pixels "
                f"({error}): set model.backbone.options, such as strict_img_size=False, "
                "dynamic_img_size=True or img_size=(height, width), whichever the model "
                "supports."
            ) from error
        maps = maps[self.first :]
        if self.is_nhwc:
            maps = [y.permute(0, 3, 1, 2).contiguous() for y in maps]
        return tuple(maps)

    def train(self, mode: bool = True) -> TimmBackbone:
        """Training mode, except for frozen layers."""
        super().train(mode)
        fixed = {id(p) for m in self.frozen for p in m.parameters(recurse=False)}
        for module in self.frozen:
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)
            if all(id(parameter) in fixed for parameter in module.parameters()):
                module.eval()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

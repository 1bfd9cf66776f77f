"""A mirror of the catalogue: for each model a checkpoint of its publisher's names, thin.

Thin means: as deep as the published one, with a fraction of the channels. Options of Detectron2 and
configs of mmdet are changed in nothing but widths, image sizes and thresholds; torchvision's models
follow from the shapes. Where names are from:

- mmdet: from mmdet's own modules, which are built.
- torchvision: ``torchvision_models.py``, written down from its modules.
- Detectron2: the inverse of our name maps (:data:`DETECTRON2`), written by hand from its modules.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
import io
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import thin_configs
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from torch import Tensor
from torchvision_models import state_dict

from mmdet_maskr.quiet import quiet
from mmdet_maskr.weights import output
from mmdet_maskr.weights.convert import base_for
from mmdet_maskr.weights.detectron2 import Detectron2Model
from mmdet_maskr.weights.detectron2_options import check_options
from mmdet_maskr.zoo import PretrainedModel, catalogue, prepare

# Names here, and of Detectron2's modules. "+" adds 1 to a number, "*" doubles it.
STAGE = r"(?:backbone|roi_head\.shared_head)\.layer(\d)\.(\d+)\."
BODY = {
    r"backbone\.conv1\.weight": "@stem.conv1.weight",
    r"backbone\.(?:bn|gn)1\.(\w+)": "@stem.conv1.norm.{0}",
    STAGE + r"conv2\.conv_offset\.(\w+)": "@res{+0}.{1}.conv2_offset.{2}",
    STAGE + r"conv(\d)\.weight": "@res{+0}.{1}.conv{2}.weight",
    STAGE + r"(?:bn|gn)(\d)\.(\w+)": "@res{+0}.{1}.conv{2}.norm.{3}",
    STAGE + r"downsample\.0\.weight": "@res{+0}.{1}.shortcut.weight",
    STAGE + r"downsample\.1\.(\w+)": "@res{+0}.{1}.shortcut.norm.{2}",
}
REGNET = {
    r"backbone\.conv1\.weight": "@stem.conv.weight",
    r"backbone\.bn1\.(\w+)": "@stem.bn.{0}",
    STAGE + r"conv(\d)\.weight": "@s{0}.b{+1}.f.{letter2}.weight",
    STAGE + r"bn(\d)\.(\w+)": "@s{0}.b{+1}.f.{letter2}_bn.{3}",
    STAGE + r"downsample\.0\.weight": "@s{0}.b{+1}.proj.weight",
    STAGE + r"downsample\.1\.(\w+)": "@s{0}.b{+1}.bn.{2}",
}
VIT = {r"backbone\.(.+)": "backbone.net.{0}", r"neck\.(simfp_.+)": "backbone.{0}"}
RPN, ROI = "proposal_generator.rpn_head.", "roi_heads."
HEADS = {
    r"neck\.lateral_convs\.(\d)\.conv\.(\w+)": "backbone.fpn_lateral{++0}.{1}",
    r"neck\.lateral_convs\.(\d)\.(?:bn|gn)\.(\w+)": "backbone.fpn_lateral{++0}.norm.{1}",
    r"neck\.fpn_convs\.(\d)\.conv\.(\w+)": "backbone.fpn_output{++0}.{1}",
    r"neck\.fpn_convs\.(\d)\.(?:bn|gn)\.(\w+)": "backbone.fpn_output{++0}.norm.{1}",
    r"rpn_head\.rpn_conv\.(weight|bias)": RPN + "conv.{0}",
    r"rpn_head\.rpn_conv\.(\d)\.conv\.(\w+)": RPN + "conv.conv{0}.{1}",
    r"rpn_head\.rpn_cls\.(\w+)": RPN + "objectness_logits.{0}",
    r"rpn_head\.rpn_reg\.(\w+)": RPN + "anchor_deltas.{0}",
    r"roi_head\.bbox_head(\.\d)?\.shared_convs\.(\d)\.conv\.(\w+)":
        ROI + "box_head{0}.conv{+1}.{2}",
    r"roi_head\.bbox_head(\.\d)?\.shared_convs\.(\d)\.(?:bn|gn|ln)\.(\w+)":
        ROI + "box_head{0}.conv{+1}.norm.{2}",
    r"roi_head\.bbox_head(\.\d)?\.shared_fcs\.(\d)\.(\w+)": ROI + "box_head{0}.fc{+1}.{2}",
    r"roi_head\.bbox_head(\.\d)?\.fc_cls\.(\w+)": ROI + "box_predictor{0}.cls_score.{1}",
    r"roi_head\.bbox_head(\.\d)?\.fc_reg\.(\w+)": ROI + "box_predictor{0}.bbox_pred.{1}",
    r"roi_head\.mask_head(?:\.0)?\.convs\.(\d)\.conv\.(\w+)": ROI + "mask_head.mask_fcn{+0}.{1}",
    r"roi_head\.mask_head(?:\.0)?\.convs\.(\d)\.(?:bn|gn|ln)\.(\w+)":
        ROI + "mask_head.mask_fcn{+0}.norm.{1}",
    r"roi_head\.mask_head(?:\.0)?\.upsample\.(\w+)": ROI + "mask_head.deconv.{0}",
    r"roi_head\.mask_head(?:\.0)?\.conv_logits\.(\w+)": ROI + "mask_head.predictor.{0}",
    r"roi_head\.mask_head\.[12]\..*": "",  # Detectron2's cascade has one mask head
    r"roi_head\.keypoint_head\.convs\.(\d)\.conv\.(\w+)": ROI + "keypoint_head.conv_fcn{+0}.{1}",
    r"roi_head\.keypoint_head\.score_lowres\.(\w+)": ROI + "keypoint_head.score_lowres.{0}",
    r"semantic_head\.conv_upsample_layers\.(\d)\.conv\.(\d)\.conv\.weight":
        "sem_seg_head.p{++0}.{*1}.weight",
    r"semantic_head\.conv_upsample_layers\.(\d)\.conv\.(\d)\.gn\.(\w+)":
        "sem_seg_head.p{++0}.{*1}.norm.{2}",
    r"semantic_head\.conv_logits\.(\w+)": "sem_seg_head.predictor.{0}",
}  # fmt: skip

# Widths of thin models of Detectron2. Group normalization has 32 groups.
THIN = {
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 8, "MODEL.RESNETS.WIDTH_PER_GROUP": 8,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 32, "MODEL.FPN.OUT_CHANNELS": 32,
    "MODEL.ROI_BOX_HEAD.FC_DIM": 16, "MODEL.ROI_BOX_HEAD.CONV_DIM": 32,
    "MODEL.ROI_MASK_HEAD.CONV_DIM": 32, "MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS": [16] * 8,
    "MODEL.SEM_SEG_HEAD.CONVS_DIM": 32, "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0,
    "MODEL.RPN.PRE_NMS_TOPK_TEST": 50, "MODEL.RPN.POST_NMS_TOPK_TEST": 20,
    "TEST.DETECTIONS_PER_IMAGE": 10, "INPUT.MIN_SIZE_TEST": 96, "INPUT.MAX_SIZE_TEST": 128,
}  # fmt: skip


def thin(model: PretrainedModel) -> PretrainedModel:
    """The model with a fraction of the channels, and the checksum of its file on the mirror."""
    options = dict(model.options)
    if model.source == "detectron2":
        options.update({k: v for k, v in THIN.items() if "SEM_SEG" not in k})
        if model.task == "panoptic":
            options["MODEL.SEM_SEG_HEAD.CONVS_DIM"] = THIN["MODEL.SEM_SEG_HEAD.CONVS_DIM"]
        if options.get("MODEL.RESNETS.NORM") == "GN":
            options.update({
                "MODEL.RESNETS.STEM_OUT_CHANNELS": 32, "MODEL.RESNETS.WIDTH_PER_GROUP": 32,
                "MODEL.RESNETS.RES2_OUT_CHANNELS": 128,
            })  # fmt: skip
        if "MODEL.RESNETS.NUM_GROUPS" in options:
            options.update({"MODEL.RESNETS.NUM_GROUPS": 2, "MODEL.RESNETS.WIDTH_PER_GROUP": 4})
        if "MODEL.VIT.EMBED_DIM" in options:
            options.update({"MODEL.VIT.EMBED_DIM": 32, "MODEL.VIT.NUM_HEADS": 2})
            options.update({"MODEL.VIT.IMG_SIZE": 128})
        if "MODEL.REGNET.DEPTH" in options:  # the smallest one
            options.update({
                "MODEL.REGNET.W_0": 24, "MODEL.REGNET.W_A": 24.48, "MODEL.REGNET.W_M": 2.54,
                "MODEL.REGNET.GROUP_WIDTH": 16, "MODEL.REGNET.DEPTH": 22,
            })  # fmt: skip
    changed = dataclasses.replace(model, options=options)
    digest = hashlib.sha256(file_of(changed)).hexdigest()
    return dataclasses.replace(changed, checksum=f"sha256:{digest[:16]}")


@functools.lru_cache(maxsize=4)  # a model is asked for twice in a row
def _file(name: str, options: tuple) -> bytes:
    model = dataclasses.replace(catalogue.find(name), options=dict(options))
    if model.source == "detectron2":
        arrays = {n: v.numpy() for n, v in detectron2_state(model).items()}
        return pickle.dumps(dict(model=arrays, __author__="Detectron2 Model Zoo"))
    stream = io.BytesIO()
    if model.source == "torchvision":
        torch.save(torchvision_state(model), stream)
    else:
        torch.save(dict(state_dict=mmdet_state(model), meta={}), stream)
    return stream.getvalue()


def file_of(model: PretrainedModel) -> bytes:
    """The model's file on the mirror."""
    return _file(model.name, _Frozen(model.options))


class _Frozen(tuple):
    """Options that can be hashed."""

    def __new__(cls, options: Mapping[str, Any]) -> _Frozen:
        return super().__new__(cls, options.items())

    def __hash__(self) -> int:
        return hash(repr(tuple(self)))


def detectron2_state(model: PretrainedModel) -> dict[str, Tensor]:
    """Tensors by Detectron2's names."""
    source = Detectron2Model(check_options(dict(model.options), model.name))
    with quiet():
        base = output.base_settings(base_for(source))["model"]
        target = output.build(source.model(base)).state_dict()
    body = "backbone.bottom_up." if source.fpn else "backbone."
    regnet, vit = "MODEL.REGNET.DEPTH" in model.options, "MODEL.VIT.DEPTH" in model.options
    rules = {**(VIT if vit else REGNET if regnet else BODY), **HEADS}
    norm = source.backbone_norm
    state = {}
    for name, value in target.items():
        if name.endswith("num_batches_tracked") and norm == "FrozenBN":
            continue
        found = _source_name(name, rules, body)
        if found:
            state[found] = _values(name, value)
    state["pixel_mean"] = torch.zeros(3, 1, 1)
    return state


def _source_name(name: str, rules: Mapping[str, str], body: str) -> str:
    for pattern, template in rules.items():
        match = re.fullmatch(pattern, name)
        if match is None:
            continue
        groups = [group or "" for group in match.groups()]
        root = "roi_heads." if "shared_head" in name else body

        def fill(found: re.Match, groups: list[str] = groups) -> str:
            kind, at = found[1], int(found[2])
            if kind == "letter":
                return "abc"[int(groups[at]) - 1]
            if kind == "*":
                return str(2 * int(groups[at]))
            return str(int(groups[at]) + len(kind)) if kind else groups[at]

        return re.sub(r"\{(letter|\*|\+*)(\d)\}", fill, template).replace("@", root)
    raise AssertionError(f"Detectron2 has no name for {name}")


def _values(name: str, value: Tensor) -> Tensor:
    """Small weights; statistics that normalize nothing away."""
    if not value.is_floating_point():
        return torch.zeros_like(value)
    if name.endswith("running_var"):
        return torch.ones_like(value)
    fan_in = max(value[0].numel(), 1) if value.ndim > 1 else 100
    return torch.randn(value.shape) * fan_in**-0.5


def torchvision_state(model: PretrainedModel) -> dict[str, Tensor]:
    """Tensors by torchvision's names; the first class is found everywhere."""
    keypoints = model.task == "keypoints"
    state = state_dict(
        classes=2 if keypoints else 91,
        v2="v2" in model.name,
        masks=model.task == "masks",
        keypoints=17 if keypoints else None,
    )
    state = {name: _values(name, value) for name, value in state.items()}
    state["roi_heads.box_predictor.cls_score.bias"][1] = 20.0
    return state


def mmdet_thin_config(model: PretrainedModel) -> Config:
    """mmdet's own config, thin."""
    cfg = Config.fromfile(_real_mmdet_config(model))
    for part in thin_configs.walk(cfg.model):
        if isinstance(part.get("init_cfg"), dict) and part["init_cfg"].get("type") == "Pretrained":
            part["init_cfg"] = None
        if part.get("type") == "MMSyncBN":  # needs a process group
            part["type"] = "SyncBN"
    cfg.load_from = None
    return thin_configs.thin(cfg, Path("data"))


_real_mmdet_config = prepare.mmdet_config


def mmdet_state(model: PretrainedModel) -> dict[str, Tensor]:
    """Tensors of mmdet's own modules."""
    with quiet():
        state = MODELS.build(copy.deepcopy(mmdet_thin_config(model).model)).state_dict()
    return {
        name: value if "position_index" in name else _values(name, value)
        for name, value in state.items()
    }


def install(
    monkeypatch: pytest.MonkeyPatch, names: list[str], root: Path
) -> dict[str, PretrainedModel]:
    """Put thin models on a mirror in a folder, and into the catalogue in place of all others.

    Args:
        monkeypatch: undoes it.
        names: of the models.
        root: the mirror's folder; configs of mmdet go into it, too.

    Returns:
        The thin models by name.
    """
    made = {}
    for name in names:
        model = thin(catalogue.find(name))
        parts = urlsplit(model.url)
        place = root / str(parts.hostname) / parts.path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file_of(model))
        made[name] = model

    def config(model: PretrainedModel) -> Path:
        path = root / f"{model.name}.py"
        mmdet_thin_config(model).dump(path)
        return path

    monkeypatch.setattr(prepare, "mmdet_config", config)
    monkeypatch.setattr(catalogue, "models", lambda: tuple(made.values()))
    return made

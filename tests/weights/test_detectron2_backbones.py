"""Detectron2's bodies and branches beyond ResNets: where their tensors go, and their values."""

from __future__ import annotations

import pytest
import torch

from mmdet_maskr.errors import UserError
from mmdet_maskr.weights.detectron2 import Detectron2Model
from mmdet_maskr.weights.detectron2_options import check_options
from mmdet_maskr.weights.rename import rename
from mmdet_maskr.zoo import find


def model_of(name: str, **changes: object) -> Detectron2Model:
    options = {key.replace("__", "."): value for key, value in changes.items()}
    return Detectron2Model(check_options({**find(name).options, **options}, name))


@pytest.mark.parametrize(
    ("name", "source", "target"),
    [
        ("mask_rcnn_R_50_FPN_1x_dconv_c3-c5", "backbone.bottom_up.res3.0.conv2_offset.bias",
         "backbone.layer2.0.conv2.conv_offset.bias"),
        ("mask_rcnn_regnetx_4gf_dds_FPN_100ep_LSJ", "backbone.bottom_up.s3.b12.f.b_bn.weight",
         "backbone.layer3.11.bn2.weight"),
        ("mask_rcnn_regnetx_4gf_dds_FPN_100ep_LSJ", "backbone.bottom_up.s1.b1.bn.running_var",
         "backbone.layer1.0.downsample.1.running_var"),
        ("mask_rcnn_vitdet_b_100ep", "backbone.net.blocks.7.attn.rel_pos_w",
         "backbone.blocks.7.attn.rel_pos_w"),
        ("mask_rcnn_vitdet_b_100ep", "backbone.simfp_2.1.weight", "neck.simfp_2.1.weight"),
        ("mask_rcnn_vitdet_b_100ep", "roi_heads.mask_head.mask_fcn1.norm.bias",
         "roi_head.mask_head.convs.0.ln.bias"),
        ("panoptic_fpn_R_50_1x", "sem_seg_head.p5.4.norm.weight",
         "semantic_head.conv_upsample_layers.3.conv.2.gn.weight"),
    ],
)  # fmt: skip
def test_names(name: str, source: str, target: str):
    assert model_of(name).name_map().targets(source) == [target]


def test_things_are_the_first_semantic_class_there_and_the_last_here():
    name_map = model_of("panoptic_fpn_R_50_1x").name_map()
    source = {"sem_seg_head.predictor.bias": torch.arange(54.0)}
    renamed = rename(source, {"semantic_head.conv_logits.bias": torch.Size([54])}, name_map)
    assert renamed.state["semantic_head.conv_logits.bias"].tolist() == [*range(1, 54), 0]


def test_modulated_deformable_convolutions():
    config = model_of("mask_rcnn_R_50_FPN_1x_dconv_c3-c5", MODEL__RESNETS__DEFORM_MODULATED=True)
    assert config.backbone()["dcn"] == dict(type="DCNv2", deform_groups=1, fallback_on_stride=False)
    with pytest.raises(UserError, match="DEFORM_ON_PER_STAGE"):
        model_of("mask_rcnn_R_50_C4_1x", MODEL__RESNETS__DEFORM_ON_PER_STAGE=[True] * 4).backbone()


def test_a_cascade_with_semantics_is_refused():
    with pytest.raises(UserError, match="PanopticFPN"):
        model_of("panoptic_fpn_R_50_1x", MODEL__ROI_HEADS__NAME="CascadeROIHeads")

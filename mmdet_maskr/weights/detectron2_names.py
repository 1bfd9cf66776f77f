"""Detectron2's parameter names and those here, as data."""

from __future__ import annotations

from typing import cast

from mmdet_maskr.weights.rename import Drop, Rule

STEM = (
    Rule(r"backbone\.(?:bottom_up\.)?stem\.conv1\.weight", "backbone.conv1.weight"),
    Rule(r"backbone\.(?:bottom_up\.)?stem\.conv1\.norm\.(\w+)", "backbone.{norm}1.{1}"),
)
# The stages of the backbone, and res5 as the head that a C4 model's RoIs share.
STAGES = tuple(
    Rule(source + pattern, target + template)
    for source, target in (
        (r"backbone\.(?:bottom_up\.)?res(\d)", "backbone.layer{1-1}"),
        (r"roi_heads\.res(5)", "roi_head.shared_head.layer{1-1}"),
    )
    for pattern, template in (
        (r"\.(\d+)\.conv(\d)\.weight", ".{2}.conv{3}.weight"),
        (r"\.(\d+)\.conv(\d)\.norm\.(\w+)", ".{2}.{norm}{3}.{4}"),
        (r"\.(\d+)\.conv2_offset\.(weight|bias)", ".{2}.conv2.conv_offset.{3}"),
        (r"\.(\d+)\.shortcut\.weight", ".{2}.downsample.0.weight"),
        (r"\.(\d+)\.shortcut\.norm\.(\w+)", ".{2}.downsample.1.{3}"),
    )
)
REGNET = (
    Rule(r"backbone\.bottom_up\.stem\.conv\.weight", "backbone.conv1.weight"),
    Rule(r"backbone\.bottom_up\.stem\.bn\.(\w+)", "backbone.{norm}1.{1}"),
    Rule(r"backbone\.bottom_up\.s(\d)\.b(\d+)\.proj\.weight",
         "backbone.layer{1}.{2-1}.downsample.0.weight"),
    Rule(r"backbone\.bottom_up\.s(\d)\.b(\d+)\.bn\.(\w+)",
         "backbone.layer{1}.{2-1}.downsample.1.{3}"),
    *(
        rule
        for number, letter in enumerate("abc", 1)
        for rule in (
            Rule(rf"backbone\.bottom_up\.s(\d)\.b(\d+)\.f\.{letter}\.weight",
                 f"backbone.layer{{1}}.{{2-1}}.conv{number}.weight"),
            Rule(rf"backbone\.bottom_up\.s(\d)\.b(\d+)\.f\.{letter}_bn\.(\w+)",
                 f"backbone.layer{{1}}.{{2-1}}.{{norm}}{number}.{{3}}"),
        )
    ),
)  # fmt: skip
# A plain ViT and its pyramid: here they are two modules, with the same names.
VIT = (
    Rule(r"backbone\.net\.(.+)", "backbone.{1}"),
    Rule(r"backbone\.(simfp_\d\..+)", "neck.{1}"),
)
SEMANTIC = (
    *(
        Rule(rf"sem_seg_head\.p{level}\.(\d)\.{source}",
             f"semantic_head.conv_upsample_layers.{level - 2}.conv.{{1/2}}.{target}")
        for level in (2, 3, 4, 5)
        for source, target in ((r"(weight|bias)", "conv.{2}"), (r"norm\.(\w+)", "gn.{2}"))
    ),
    Rule(r"sem_seg_head\.predictor\.(\w+)", "semantic_head.conv_logits.{1}"),
)  # fmt: skip
FPN = (
    Rule(r"backbone\.fpn_lateral(\d)\.(weight|bias)", "neck.lateral_convs.{1-2}.conv.{2}"),
    Rule(r"backbone\.fpn_lateral(\d)\.norm\.(\w+)", "neck.lateral_convs.{1-2}.{fpn_norm}.{2}"),
    Rule(r"backbone\.fpn_output(\d)\.(weight|bias)", "neck.fpn_convs.{1-2}.conv.{2}"),
    Rule(r"backbone\.fpn_output(\d)\.norm\.(\w+)", "neck.fpn_convs.{1-2}.{fpn_norm}.{2}"),
)
RPN = (
    Rule(r"proposal_generator\.rpn_head\.conv\.(weight|bias)", "rpn_head.rpn_conv.{1}"),
    Rule(r"proposal_generator\.rpn_head\.conv\.conv(\d)\.(\w+)", "rpn_head.rpn_conv.{1}.conv.{2}"),
    Rule(r"proposal_generator\.rpn_head\.objectness_logits\.(\w+)", "rpn_head.rpn_cls.{1}"),
    Rule(r"proposal_generator\.rpn_head\.anchor_deltas\.(\w+)", "rpn_head.rpn_reg.{1}"),
)
BOX = (
    Rule(
        r"roi_heads\.box_head\.conv(\d)\.(weight|bias)",
        "roi_head.bbox_head.shared_convs.{1-1}.conv.{2}",
    ),
    Rule(
        r"roi_heads\.box_head\.conv(\d)\.norm\.(\w+)",
        "roi_head.bbox_head.shared_convs.{1-1}.{box_norm}.{2}",
    ),
    Rule(r"roi_heads\.box_head\.fc(\d)\.(\w+)", "roi_head.bbox_head.shared_fcs.{1-1}.{2}"),
    Rule(r"roi_heads\.box_predictor\.cls_score\.(\w+)", "roi_head.bbox_head.fc_cls.{1}"),
    Rule(r"roi_heads\.box_predictor\.bbox_pred\.(\w+)", "roi_head.bbox_head.fc_reg.{1}"),
)
# A cascade has a box head a stage, group 1.
CASCADE_BOX = (
    Rule(
        r"roi_heads\.box_head\.(\d)\.conv(\d)\.(weight|bias)",
        "roi_head.bbox_head.{1}.shared_convs.{2-1}.conv.{3}",
    ),
    Rule(
        r"roi_heads\.box_head\.(\d)\.conv(\d)\.norm\.(\w+)",
        "roi_head.bbox_head.{1}.shared_convs.{2-1}.{box_norm}.{3}",
    ),
    Rule(
        r"roi_heads\.box_head\.(\d)\.fc(\d)\.(\w+)", "roi_head.bbox_head.{1}.shared_fcs.{2-1}.{3}"
    ),
    Rule(r"roi_heads\.box_predictor\.(\d)\.cls_score\.(\w+)", "roi_head.bbox_head.{1}.fc_cls.{2}"),
    Rule(r"roi_heads\.box_predictor\.(\d)\.bbox_pred\.(\w+)", "roi_head.bbox_head.{1}.fc_reg.{2}"),
)
MASK = (
    Rule(
        r"roi_heads\.mask_head\.mask_fcn(\d)\.(weight|bias)",
        "roi_head.mask_head.convs.{1-1}.conv.{2}",
    ),
    Rule(
        r"roi_heads\.mask_head\.mask_fcn(\d)\.norm\.(\w+)",
        "roi_head.mask_head.convs.{1-1}.{mask_norm}.{2}",
    ),
    Rule(r"roi_heads\.mask_head\.deconv\.(\w+)", "roi_head.mask_head.upsample.{1}"),
    Rule(r"roi_heads\.mask_head\.predictor\.(\w+)", "roi_head.mask_head.conv_logits.{1}"),
)
KEYPOINT = (
    Rule(
        r"roi_heads\.keypoint_head\.conv_fcn(\d)\.(\w+)",
        "roi_head.keypoint_head.convs.{1-1}.conv.{2}",
    ),
    Rule(
        r"roi_heads\.keypoint_head\.score_lowres\.(\w+)", "roi_head.keypoint_head.score_lowres.{1}"
    ),
)
DROPS = (
    Drop(r"pixel_(mean|std)", "the data preprocessor's, from the config"),
    Drop(
        r"proposal_generator\.anchor_generator\.cell_anchors\.\d+",
        "the anchor generator's, from the config",
    ),
)


def rules(mask_copies: int = 0) -> tuple[Rule, ...]:
    """All rules.

    Args:
        mask_copies: the number of mask heads of a cascade here, which all get the weights of
            Detectron2's only one; 0 without a cascade.
    """
    mask = MASK
    if mask_copies:
        mask = tuple(
            Rule(
                rule.pattern,
                tuple(
                    cast(str, rule.target).replace("mask_head", f"mask_head.{stage}", 1)
                    for stage in range(mask_copies)
                ),
            )
            for rule in MASK
        )
    return (
        *(*STEM, *STAGES, *REGNET, *VIT, *FPN),
        *(*RPN, *BOX, *CASCADE_BOX, *mask, *KEYPOINT, *SEMANTIC),
    )

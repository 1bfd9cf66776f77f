"""torchvision's parameter names and those here, as data. Names before version 0.13 fit too."""

from __future__ import annotations

from mmdet_maskr.weights.rename import Rule

BODY = (
    Rule(r"backbone\.body\.(.+)", "backbone.{1}"),
    Rule(
        r"backbone\.fpn\.inner_blocks\.(\d)(?:\.0)?\.(weight|bias)",
        "neck.lateral_convs.{1}.conv.{2}",
    ),
    Rule(r"backbone\.fpn\.inner_blocks\.(\d)\.1\.(\w+)", "neck.lateral_convs.{1}.bn.{2}"),
    Rule(
        r"backbone\.fpn\.layer_blocks\.(\d)(?:\.0)?\.(weight|bias)",
        "neck.fpn_convs.{1}.conv.{2}",
    ),
    Rule(r"backbone\.fpn\.layer_blocks\.(\d)\.1\.(\w+)", "neck.fpn_convs.{1}.bn.{2}"),
)
RPN = (
    Rule(r"rpn\.head\.cls_logits\.(\w+)", "rpn_head.rpn_cls.{1}"),
    Rule(r"rpn\.head\.bbox_pred\.(\w+)", "rpn_head.rpn_reg.{1}"),
)
ONE_RPN_CONV = (Rule(r"rpn\.head\.conv(?:\.0\.0)?\.(weight|bias)", "rpn_head.rpn_conv.{1}"),)
RPN_CONVS = (Rule(r"rpn\.head\.conv\.(\d)\.0\.(weight|bias)", "rpn_head.rpn_conv.{1}.conv.{2}"),)
BOX = (
    Rule(r"roi_heads\.box_head\.fc([67])\.(\w+)", "roi_head.bbox_head.shared_fcs.{1-6}.{2}"),
    Rule(
        r"roi_heads\.box_head\.(\d)\.0\.(weight|bias)",
        "roi_head.bbox_head.shared_convs.{1}.conv.{2}",
    ),
    Rule(r"roi_heads\.box_head\.(\d)\.1\.(\w+)", "roi_head.bbox_head.shared_convs.{1}.bn.{2}"),
    Rule(r"roi_heads\.box_predictor\.cls_score\.(\w+)", "roi_head.bbox_head.fc_cls.{1}"),
    Rule(r"roi_heads\.box_predictor\.bbox_pred\.(\w+)", "roi_head.bbox_head.fc_reg.{1}"),
)
MASK = (
    Rule(r"roi_heads\.mask_head\.mask_fcn(\d)\.(\w+)", "roi_head.mask_head.convs.{1-1}.conv.{2}"),
    Rule(r"roi_heads\.mask_head\.(\d)\.0\.(weight|bias)", "roi_head.mask_head.convs.{1}.conv.{2}"),
    Rule(r"roi_heads\.mask_head\.(\d)\.1\.(\w+)", "roi_head.mask_head.convs.{1}.bn.{2}"),
    Rule(r"roi_heads\.mask_predictor\.conv5_mask\.(\w+)", "roi_head.mask_head.upsample.{1}"),
    Rule(
        r"roi_heads\.mask_predictor\.mask_fcn_logits\.(\w+)", "roi_head.mask_head.conv_logits.{1}"
    ),
)
KEYPOINT = (
    Rule(r"roi_heads\.keypoint_head\.(\d+)\.(\w+)", "roi_head.keypoint_head.convs.{1/2}.conv.{2}"),
    Rule(
        r"roi_heads\.keypoint_predictor\.kps_score_lowres\.(\w+)",
        "roi_head.keypoint_head.score_lowres.{1}",
    ),
)


def rules(rpn_convs: int, box_convs: int) -> tuple[Rule, ...]:
    """All rules.

    Args:
        rpn_convs: number of the RPN's convolutions.
        box_convs: number of the box head's, which are followed in the same list by a flattening
            and the fully connected layer.
    """
    fc = Rule(
        rf"roi_heads\.box_head\.{box_convs + 1}\.(weight|bias)",
        "roi_head.bbox_head.shared_fcs.0.{1}",
    )
    convs = ONE_RPN_CONV if rpn_convs == 1 else RPN_CONVS
    return (*BODY, *RPN, *convs, fc, *BOX, *MASK, *KEYPOINT)

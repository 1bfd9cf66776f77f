"""Detectron2: how a model is trained and tested, from its options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmdet_maskr.errors import UserError
from mmdet_maskr.weights import config_parts

CONVENTION = "detectron2"
PANOPTIC_SCORE = (
    0.5  # Detectron2's default of MODEL.PANOPTIC_FPN.COMBINE.INSTANCES_CONFIDENCE_THRESH
)
Options = Mapping[str, Any]


def train_cfg(options: Options, base: dict, cascade: bool, mask_size: int) -> dict:
    """The base config's, with the options' thresholds and numbers.

    Args:
        options: from :func:`.detectron2_options.read_options`.
        base: ``train_cfg`` of the base config.
        cascade: a list of settings, one a stage, for ``rcnn``.
        mask_size: side of the masks.
    """
    low, high = options["MODEL.RPN.IOU_THRESHOLDS"]
    rpn = dict(
        base["rpn"],
        allowed_border=options["MODEL.RPN.BOUNDARY_THRESH"],
        assigner=dict(base["rpn"]["assigner"], pos_iou_thr=high, neg_iou_thr=low),
        sampler=dict(
            base["rpn"]["sampler"],
            num=options["MODEL.RPN.BATCH_SIZE_PER_IMAGE"],
            pos_fraction=options["MODEL.RPN.POSITIVE_FRACTION"],
        ),
    )
    if cascade:
        ious = options["MODEL.ROI_BOX_CASCADE_HEAD.IOUS"]
        rcnn = [_rcnn_train_cfg(options, base["rcnn"], iou, mask_size) for iou in ious]
    else:
        iou = options["MODEL.ROI_HEADS.IOU_THRESHOLDS"][0]
        rcnn = _rcnn_train_cfg(options, base["rcnn"], iou, mask_size)
    return dict(rpn=rpn, rpn_proposal=_proposals(options, "TRAIN"), rcnn=rcnn)


def _rcnn_train_cfg(options: Options, base: dict, iou: float, mask_size: int) -> dict:
    return dict(
        base,
        assigner=dict(
            base["assigner"],
            pos_iou_thr=iou,
            neg_iou_thr=iou,
            min_pos_iou=iou,
            match_low_quality=False,
        ),
        sampler=dict(
            base["sampler"],
            num=options["MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE"],
            pos_fraction=options["MODEL.ROI_HEADS.POSITIVE_FRACTION"],
            add_gt_as_proposals=options["MODEL.ROI_HEADS.PROPOSAL_APPEND_GT"],
        ),
        mask_size=mask_size,
    )


def _proposals(options: Options, split: str) -> dict:
    return dict(
        nms_pre=options[f"MODEL.RPN.PRE_NMS_TOPK_{split}"],
        max_per_img=options[f"MODEL.RPN.POST_NMS_TOPK_{split}"],
        nms=dict(type="nms", iou_threshold=options["MODEL.RPN.NMS_THRESH"]),
        min_bbox_size=options["MODEL.PROPOSAL_GENERATOR.MIN_SIZE"],
        convention=CONVENTION,
    )


def test_cfg(options: Options) -> dict:
    """Thresholds and numbers of proposals and detections."""
    rcnn = dict(
        score_thr=options["MODEL.ROI_HEADS.SCORE_THRESH_TEST"],
        nms=dict(type="nms", iou_threshold=options["MODEL.ROI_HEADS.NMS_THRESH_TEST"]),
        max_per_img=options["TEST.DETECTIONS_PER_IMAGE"],
        mask_thr_binary=0.5,
        convention=CONVENTION,
    )
    return dict(rpn=_proposals(options, "TEST"), rcnn=rcnn)


def pipelines(options: Options) -> dict[str, list[dict]]:
    """``train_pipeline`` and ``test_pipeline``; a size of 0 stands for no resizing.

    Raises:
        UserError: some of the training images are to be resized, and others not.
    """
    sizes = options["INPUT.MIN_SIZE_TRAIN"]
    sizes = sizes if isinstance(sizes, list) else [sizes]
    if 0 in sizes and any(sizes):
        raise UserError(f"INPUT.MIN_SIZE_TRAIN: {sizes} (supported: 0 alone, or sizes above it).")
    test_size = options["INPUT.MIN_SIZE_TEST"]
    found = config_parts.pipelines(
        CONVENTION,
        (options["INPUT.MAX_SIZE_TEST"], test_size) if test_size else None,
        [(options["INPUT.MAX_SIZE_TRAIN"], size) for size in sizes if size],
        flip=options["INPUT.RANDOM_FLIP"] == "horizontal",
        keypoints=options["MODEL.KEYPOINT_ON"],
        between=options["INPUT.MIN_SIZE_TRAIN_SAMPLING"] == "range",
    )
    if options["MODEL.META_ARCHITECTURE"] == "PanopticFPN":
        for pipeline in found.values():
            pipeline[:] = [_panoptic_step(step) for step in pipeline]
    return found


def _panoptic_step(step: dict) -> dict:
    is_annotations = step["type"] == "LoadAnnotations"
    return dict(type="LoadPanopticAnnotations") if is_annotations else step


def panoptic(options: Options, config: dict, base: dict) -> dict:
    """A Mask R-CNN's config with a semantic branch and the fusion of both.

    Args:
        options: from :func:`.detectron2_options.read_options`.
        config: ``model`` without them.
        base: ``model`` of the base config, a panoptic one.
    """
    stuff = options["MODEL.SEM_SEG_HEAD.NUM_CLASSES"] - 1  # one stands for all things
    things = options["MODEL.ROI_HEADS.NUM_CLASSES"]
    head = dict(
        base["semantic_head"],
        num_things_classes=things,
        num_stuff_classes=stuff,
        in_channels=options["MODEL.FPN.OUT_CHANNELS"],
        inner_channels=options["MODEL.SEM_SEG_HEAD.CONVS_DIM"],
        norm_cfg=config_parts.norm_cfg(options["MODEL.SEM_SEG_HEAD.NORM"]),
    )
    head["loss_seg"] = dict(head["loss_seg"], loss_weight=options["MODEL.SEM_SEG_HEAD.LOSS_WEIGHT"])
    fusion = dict(base["panoptic_fusion_head"], num_things_classes=things, num_stuff_classes=stuff)
    preprocessor = dict(base["data_preprocessor"], **config["data_preprocessor"])
    test = dict(config["test_cfg"], panoptic=base["test_cfg"]["panoptic"])
    # instances that are less sure take no part
    test["rcnn"] = dict(test["rcnn"], score_thr=PANOPTIC_SCORE)
    return dict(
        config,
        type="PanopticFPN",
        data_preprocessor=preprocessor,
        semantic_head=head,
        panoptic_fusion_head=fusion,
        test_cfg=test,
    )

"""Parts of a config that more than one source needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

DEPTHS_WITH_BOTTLENECKS = (50, 101, 152)


def norm_cfg(kind: str) -> dict | None:
    """mmdet's normalization for Detectron2's name of it; None for none.

    'FrozenBN' is batch normalization whose weights do not train; its statistics are kept by
    ``norm_eval``.
    """
    if not kind:
        return None
    return dict(
        FrozenBN=dict(type="BN", requires_grad=False),
        BN=dict(type="BN", requires_grad=True),
        SyncBN=dict(type="SyncBN", requires_grad=True),
        nnSyncBN=dict(type="SyncBN", requires_grad=True),
        naiveSyncBN=dict(type="SyncBN", requires_grad=True),
        GN=dict(type="GN", num_groups=32, requires_grad=True),
        LN=dict(type="ChannelLayerNorm", eps=1e-6),
    )[kind]


def norm_name(kind: str) -> str:
    """How mmcv abbreviates the normalization in parameter names."""
    return dict(GN="gn", LN="ln").get(kind, "bn")


def resnet(
    depth: int,
    width: int,
    out_channels: int,
    groups: int = 1,
    stem: int = 64,
    style: str = "pytorch",
    norm: dict | None = None,
    norm_eval: bool = True,
    frozen_stages: int = 1,
    dilated_c5: bool = False,
    outputs: Sequence[int] = (0, 1, 2, 3),
) -> dict:
    """A ResNet of mmdet where it has one of these widths, else a FreeWidthResNet.

    Args:
        depth: 18, 34, 50, 101 or 152.
        width: of the first stage's bottlenecks, all groups together.
        out_channels: of the first stage.
        groups: of the 3x3 convolutions.
        stem: channels of the stem.
        style: 'caffe' strides in the 1x1 convolution, 'pytorch' in the 3x3.
        norm: normalization.
        norm_eval: keep its statistics when training.
        frozen_stages: -1 for none, 0 for the stem, 1 for the first stage too.
        dilated_c5: the last stage has stride 1 and dilation 2.
        outputs: stages whose maps are used, from 0.
    """
    stages = max(outputs) + 1
    config: dict[str, Any]
    if depth not in DEPTHS_WITH_BOTTLENECKS:
        config = dict(type="ResNet", depth=depth, base_channels=out_channels)
    elif groups == 1 and out_channels == 4 * width:
        config = dict(type="ResNet", depth=depth, base_channels=width)
    elif groups > 1 and out_channels % 4 == 0:
        config = dict(
            type="ResNeXt",
            depth=depth,
            base_channels=out_channels // 4,
            groups=groups,
            base_width=width // groups,
        )
    else:
        config = dict(
            type="FreeWidthResNet",
            depth=depth,
            base_channels=width,
            out_channels=out_channels,
            groups=groups,
        )
    if stem != config["base_channels"]:
        config["stem_channels"] = stem
    if stages < 4 or dilated_c5:
        last_stride, last_dilation = (1, 2) if dilated_c5 else (2, 1)
        config["strides"] = (1, 2, 2, last_stride)[:stages]
        config["dilations"] = (1, 1, 1, last_dilation)[:stages]
    config.update(
        num_stages=stages,
        out_indices=tuple(outputs),
        frozen_stages=frozen_stages,
        norm_cfg=norm,
        norm_eval=norm_eval,
        style=style,
        init_cfg=None,
    )
    return config


def anchors(
    strides: Sequence[int],
    sizes: Sequence[Sequence[float]],
    ratios: Sequence[float],
    convention: str,
    offset: float = 0.0,
) -> dict:
    """Anchors given by their sizes."""
    config: dict = dict(
        type="SizedAnchorGenerator",
        convention=convention,
        strides=list(strides),
        sizes=[list(level) for level in sizes],
        ratios=list(ratios),
    )
    if offset:
        config["center_offset"] = offset
    return config


def box_coder(weights: Sequence[float]) -> dict:
    """Detectron2's and torchvision's box coder."""
    return dict(type="WeightedBoxCoder", weights=[float(weight) for weight in weights])


def box_loss(beta: float, weight: float = 1.0) -> dict:
    """Smooth L1 with its threshold ``beta``; plain L1 for 0."""
    if beta == 0:
        return dict(type="L1Loss", loss_weight=weight)
    return dict(type="SmoothL1Loss", beta=beta, loss_weight=weight)


def roi_extractor(
    size: int,
    channels: int,
    strides: Sequence[int],
    level_rule: str,
    ratio: int = 0,
    aligned: bool = True,
) -> dict:
    """RoIAlign of ``size`` x ``size`` bins."""
    layer = dict(type="RoIAlign", output_size=size, sampling_ratio=ratio)
    if not aligned:
        layer["aligned"] = False
    return dict(
        type="LevelRoIExtractor",
        roi_layer=layer,
        out_channels=channels,
        featmap_strides=list(strides),
        level_rule=level_rule,
    )


def box_head(
    *,
    channels: int,
    size: int,
    num_classes: int,
    convs: int,
    conv_channels: int,
    fcs: int,
    fc_channels: int,
    norm: dict | None,
    weights: Sequence[float],
    loss: dict,
    class_agnostic: bool,
) -> dict:
    """Box head of convolutions, then fully connected layers.

    Args:
        channels: of the maps.
        size: pixels along a side of a RoI's features.
        num_classes: K, without the background.
        convs: how many convolutions, of ``conv_channels``.
        conv_channels: outputs of each.
        fcs: how many fully connected layers, of ``fc_channels``.
        fc_channels: outputs of each.
        norm: ``norm_cfg`` after the convolutions; None for none.
        weights: of the box coder, for x, y, width and height.
        loss: ``loss_bbox``.
        class_agnostic: one box for all classes.
    """
    config: dict[str, Any] = dict(
        type="Shared2FCBBoxHead",
        in_channels=channels,
        fc_out_channels=fc_channels,
        roi_feat_size=size,
        num_classes=num_classes,
        bbox_coder=box_coder(weights),
        reg_class_agnostic=class_agnostic,
        loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
        loss_bbox=loss,
    )
    if (convs, fcs) != (0, 2):
        config.update(
            type="ConvFCBBoxHead",
            num_shared_convs=convs,
            num_shared_fcs=fcs,
            conv_out_channels=conv_channels,
        )
    if norm is not None and convs:
        config["norm_cfg"] = norm
    return config


def pipelines(
    convention: str,
    test_scale: tuple[int, int] | None,
    train_scales: Sequence[tuple[int, int]],
    flip: bool = True,
    keypoints: bool = False,
    between: bool = False,
) -> dict[str, list[dict]]:
    """``train_pipeline`` and ``test_pipeline`` that decode and resize images as the source does.

    Args:
        convention: of SourceResize.
        test_scale: (longest, shortest) sides; None for images as they are.
        train_scales: of which one is drawn for each image; none for images as they are.
        flip: half of the images, when training.
        keypoints: with the transforms that keep keypoints in step.
        between: draw any scale between the first and the last of ``train_scales``.
    """
    load = dict(type="LoadImageFromFile", imdecode_backend="pillow")
    kind = "Keypoint" if keypoints else ""
    annotations = dict(type=f"Load{kind}Annotations", with_bbox=True, with_mask=True)
    geometry = dict(annotations, type=f"Load{kind or 'Instance'}Annotations", poly2mask=None)
    # says to what follows that nothing was resized
    unchanged: dict = dict(type=f"{kind}Resize", scale_factor=1.0, keep_ratio=True)

    def resize(scale: tuple[int, int] | None) -> dict:
        if scale is None:
            return unchanged
        return dict(type="SourceResize", scale=scale, convention=convention)

    test_resize = resize(test_scale)
    if len(train_scales) <= 1:
        train_resize = resize(train_scales[0] if train_scales else None)
    else:
        scales = dict(type="RandomChoiceResize", scales=list(train_scales))
        if between:
            scales = dict(type="RandomResize", scale=[train_scales[0], train_scales[-1]])
        train_resize = dict(
            scales,
            resize_type="SourceResize",
            convention=convention,
        )
    packing = "PackKeypointInputs" if keypoints else "PackInstanceInputs"
    train: list[dict] = [load, geometry, train_resize, dict(type=packing)]
    if flip:
        train.insert(3, dict(type=f"{kind}RandomFlip", prob=0.5))
    meta_keys = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
    pack: dict = dict(type=packing, meta_keys=meta_keys)
    return dict(train_pipeline=train, test_pipeline=[load, test_resize, annotations, pack])


def class_names(labels: Sequence[int], keypoints: bool) -> tuple[str, ...] | None:
    """Names for classes of which the source has only labels.

    Args:
        labels: of the source.
        keypoints: whether the model has keypoints: one class is then COCO's person.

    Returns:
        None where the dataset has them: COCO's 80, or person.
    """
    if len(labels) == 80 or (keypoints and len(labels) == 1):
        return None
    return tuple(f"class_{label}" for label in labels)

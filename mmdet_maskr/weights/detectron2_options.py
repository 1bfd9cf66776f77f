"""Detectron2's YAML configs: base files, defaults, and what is not supported here.

Options fall into those that the conversion reads (with Detectron2's defaults, version 2), those
that must have the value that this plugin has, and those that decide nothing about a trained model.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from mmdet_maskr.data_files import is_number, read_yaml
from mmdet_maskr.errors import UserError
from mmdet_maskr.folders import as_path

MAX_LITERAL = 10_000  # characters of a list that is written as a text
MAX_ITEMS = 1000  # of a list
MAX_WIDTH = 50_000  # of a layer, and of an image
MAX_VALUE = 1e6
MAX_BASES = 50
# Of anchors: one for all levels, or one for each. Sizes: one or several.
LISTS = (
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS",
    "MODEL.ANCHOR_GENERATOR.SIZES",
    "INPUT.MIN_SIZE_TRAIN",
)

# Read by the conversion.
READ: dict[str, Any] = {
    "INPUT.FORMAT": "BGR",
    "INPUT.MAX_SIZE_TEST": 1333,
    "INPUT.MAX_SIZE_TRAIN": 1333,
    "INPUT.MIN_SIZE_TEST": 800,
    "INPUT.MIN_SIZE_TRAIN": [800],
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": "choice",
    "INPUT.RANDOM_FLIP": "horizontal",
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": [[0.5, 1.0, 2.0]],
    "MODEL.ANCHOR_GENERATOR.OFFSET": 0.0,
    "MODEL.ANCHOR_GENERATOR.SIZES": [[32, 64, 128, 256, 512]],
    "MODEL.BACKBONE.FREEZE_AT": 2,
    "MODEL.BACKBONE.NAME": "build_resnet_backbone",
    "MODEL.FPN.IN_FEATURES": [],
    "MODEL.FPN.NORM": "",
    "MODEL.FPN.OUT_CHANNELS": 256,
    "MODEL.KEYPOINT_ON": False,
    "MODEL.MASK_ON": False,
    "MODEL.PIXEL_MEAN": [103.53, 116.28, 123.675],
    "MODEL.PIXEL_STD": [1.0, 1.0, 1.0],
    "MODEL.PROPOSAL_GENERATOR.MIN_SIZE": 0,
    "MODEL.RESNETS.DEPTH": 50,
    "MODEL.RESNETS.NORM": "FrozenBN",
    "MODEL.RESNETS.NUM_GROUPS": 1,
    "MODEL.RESNETS.OUT_FEATURES": ["res4"],
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 256,
    "MODEL.RESNETS.RES5_DILATION": 1,
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 64,
    "MODEL.RESNETS.STRIDE_IN_1X1": True,
    "MODEL.RESNETS.WIDTH_PER_GROUP": 64,
    "MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS": [
        [10.0, 10.0, 5.0, 5.0],
        [20.0, 20.0, 10.0, 10.0],
        [30.0, 30.0, 15.0, 15.0],
    ],
    "MODEL.ROI_BOX_CASCADE_HEAD.IOUS": [0.5, 0.6, 0.7],
    "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_WEIGHT": 1.0,
    "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS": [10.0, 10.0, 5.0, 5.0],
    "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG": False,
    "MODEL.ROI_BOX_HEAD.CONV_DIM": 256,
    "MODEL.ROI_BOX_HEAD.FC_DIM": 1024,
    "MODEL.ROI_BOX_HEAD.NORM": "",
    "MODEL.ROI_BOX_HEAD.NUM_CONV": 0,
    "MODEL.ROI_BOX_HEAD.NUM_FC": 0,
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 14,
    "MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO": 0,
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": "ROIAlignV2",
    "MODEL.ROI_BOX_HEAD.SMOOTH_L1_BETA": 0.0,
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 512,
    "MODEL.ROI_HEADS.IN_FEATURES": ["res4"],
    "MODEL.ROI_HEADS.IOU_THRESHOLDS": [0.5],
    "MODEL.ROI_HEADS.NAME": "Res5ROIHeads",
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": 0.5,
    "MODEL.ROI_HEADS.NUM_CLASSES": 80,
    "MODEL.ROI_HEADS.POSITIVE_FRACTION": 0.25,
    "MODEL.ROI_HEADS.PROPOSAL_APPEND_GT": True,
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.05,
    "MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS": [512] * 8,
    "MODEL.ROI_KEYPOINT_HEAD.LOSS_WEIGHT": 1.0,
    "MODEL.ROI_KEYPOINT_HEAD.NORMALIZE_LOSS_BY_VISIBLE_KEYPOINTS": True,
    "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS": 17,
    "MODEL.ROI_KEYPOINT_HEAD.POOLER_RESOLUTION": 14,
    "MODEL.ROI_KEYPOINT_HEAD.POOLER_SAMPLING_RATIO": 0,
    "MODEL.ROI_KEYPOINT_HEAD.POOLER_TYPE": "ROIAlignV2",
    "MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK": False,
    "MODEL.ROI_MASK_HEAD.CONV_DIM": 256,
    "MODEL.ROI_MASK_HEAD.NORM": "",
    "MODEL.ROI_MASK_HEAD.NUM_CONV": 0,
    "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION": 14,
    "MODEL.ROI_MASK_HEAD.POOLER_SAMPLING_RATIO": 0,
    "MODEL.ROI_MASK_HEAD.POOLER_TYPE": "ROIAlignV2",
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE": 256,
    "MODEL.RPN.BBOX_REG_LOSS_WEIGHT": 1.0,
    "MODEL.RPN.BBOX_REG_WEIGHTS": [1.0, 1.0, 1.0, 1.0],
    "MODEL.RPN.BOUNDARY_THRESH": -1,
    "MODEL.RPN.CONV_DIMS": [-1],
    "MODEL.RPN.IN_FEATURES": ["res4"],
    "MODEL.RPN.IOU_THRESHOLDS": [0.3, 0.7],
    "MODEL.RPN.LOSS_WEIGHT": 1.0,
    "MODEL.RPN.NMS_THRESH": 0.7,
    "MODEL.RPN.POSITIVE_FRACTION": 0.5,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 1000,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": 2000,
    "MODEL.RPN.PRE_NMS_TOPK_TEST": 6000,
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": 12000,
    "MODEL.RPN.SMOOTH_L1_BETA": 0.0,
    "TEST.DETECTIONS_PER_IMAGE": 100,
}

RESNET_NORMS = ("FrozenBN", "BN", "SyncBN", "nnSyncBN", "naiveSyncBN", "GN")
HEAD_NORMS = ("", "BN", "SyncBN", "nnSyncBN", "naiveSyncBN", "GN")

# Options of which only some values are supported.
ACCEPTED: dict[str, tuple] = {
    "MODEL.ANCHOR_GENERATOR.NAME": ("DefaultAnchorGenerator",),
    "MODEL.BACKBONE.NAME": ("build_resnet_backbone", "build_resnet_fpn_backbone"),
    "MODEL.FPN.FUSE_TYPE": ("sum",),
    "MODEL.FPN.NORM": HEAD_NORMS,
    "MODEL.LOAD_PROPOSALS": (False,),
    "MODEL.PROPOSAL_GENERATOR.NAME": ("RPN",),
    "MODEL.RESNETS.DEFORM_ON_PER_STAGE": ([False] * 4,),
    "MODEL.RESNETS.DEPTH": (18, 34, 50, 101, 152),
    "MODEL.RESNETS.NORM": RESNET_NORMS,
    "MODEL.RESNETS.RES5_DILATION": (1, 2),
    "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_TYPE": ("smooth_l1",),
    "MODEL.ROI_BOX_HEAD.NAME": ("", "FastRCNNConvFCHead"),
    "MODEL.ROI_BOX_HEAD.NORM": HEAD_NORMS,
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE": ("ROIAlignV2", "ROIAlign"),
    "MODEL.ROI_BOX_HEAD.USE_FED_LOSS": (False,),
    "MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE": (False,),
    "MODEL.ROI_HEADS.IOU_LABELS": ([0, 1],),
    "MODEL.ROI_HEADS.NAME": ("Res5ROIHeads", "StandardROIHeads", "CascadeROIHeads"),
    "MODEL.ROI_KEYPOINT_HEAD.NAME": ("KRCNNConvDeconvUpsampleHead",),
    "MODEL.ROI_KEYPOINT_HEAD.POOLER_TYPE": ("ROIAlignV2", "ROIAlign"),
    "MODEL.ROI_MASK_HEAD.NAME": ("MaskRCNNConvUpsampleHead",),
    "MODEL.ROI_MASK_HEAD.NORM": HEAD_NORMS,
    "MODEL.ROI_MASK_HEAD.POOLER_TYPE": ("ROIAlignV2", "ROIAlign"),
    "MODEL.RPN.BBOX_REG_LOSS_TYPE": ("smooth_l1",),
    "MODEL.RPN.HEAD_NAME": ("StandardRPNHead",),
    "MODEL.RPN.IOU_LABELS": ([0, -1, 1],),
    "INPUT.FORMAT": ("BGR", "RGB"),
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": ("choice", "range"),
    "INPUT.RANDOM_FLIP": ("horizontal", "none"),
    "TEST.AUG.ENABLED": (False,),
}

# They say how a model was trained or is run, or belong to other architectures.
IGNORED = (
    r"CUDNN_BENCHMARK|FLOAT32_PRECISION|OUTPUT_DIR|SEED|VERSION|VIS_PERIOD|GLOBAL\..*",
    r"DATALOADER\..*|DATASETS\..*|SOLVER\..*",
    r"INPUT\.CROP\..*|INPUT\.MASK_FORMAT",
    r"MODEL\.(DEVICE|WEIGHTS|META_ARCHITECTURE)",
    r"MODEL\.(PANOPTIC_FPN|RETINANET|SEM_SEG_HEAD)\..*",
    r"MODEL\.ANCHOR_GENERATOR\.ANGLES",
    r"MODEL\.RESNETS\.DEFORM_(MODULATED|NUM_GROUPS)",
    r"MODEL\.ROI_BOX_HEAD\.(FED_LOSS_.*|TRAIN_ON_PRED_BOXES)",
    r"MODEL\.ROI_KEYPOINT_HEAD\.MIN_KEYPOINTS_PER_IMAGE",
    r"TEST\.(EVAL_PERIOD|EXPECTED_RESULTS|KEYPOINT_OKS_SIGMAS|AUG\..*|PRECISE_BN\..*)",
)


def read_options(path: str | Path) -> dict[str, Any]:
    """Options of a Detectron2 YAML config, a dump or one of the model zoo with its base files.

    Args:
        path: of the YAML file.

    Returns:
        All of :data:`READ` by dotted name.

    Raises:
        UserError: no such file, no YAML, another meta-architecture, or options that are not
            supported or of another type, all of them by name.
    """
    given = dict(_flat(_with_bases(Path(path), ())))
    architecture = given.get("MODEL.META_ARCHITECTURE", "GeneralizedRCNN")
    if architecture != "GeneralizedRCNN":
        raise UserError(
            f"{path}: MODEL.META_ARCHITECTURE is {architecture!r}; only 'GeneralizedRCNN' (Mask, "
            "Keypoint, Cascade and Faster R-CNN) can be converted."
        )
    if not any(name.startswith("MODEL.") for name in given):
        raise UserError(f"{path} has no MODEL section: it is no config of Detectron2.")
    problems = [_problem(name, value) for name, value in given.items()]
    problems = [problem for problem in problems if problem]
    if problems:
        raise UserError(
            f"{path} has options that are not supported:\n" + "\n".join(f"  {p}" for p in problems)
        )
    return {name: given.get(name, default) for name, default in READ.items()}


class Code(str):
    """A tag that would run Python code. It is not run: the options that need it are named."""


class _Loader(yaml.SafeLoader):
    """yaml's safe loader, which reads on where a tag asks for Python code."""


_Loader.add_multi_constructor("", lambda loader, tag, node: Code(tag))


def _problem(name: str, value: Any) -> str | None:
    if isinstance(value, Code):
        return f"{name}: code ({value}), which is not run"
    if name in ACCEPTED:
        if value in ACCEPTED[name]:
            return None
        accepted = ", ".join(repr(v) for v in ACCEPTED[name])
        return f"{name}: {repr(value)[:100]} (supported: {accepted})"
    if name in READ:
        wanted = _wanted(name, value)
        return f"{name}: {repr(value)[:100]} (must be {wanted})" if wanted else None
    if any(re.fullmatch(pattern, name) for pattern in IGNORED):
        return None
    return f"{name}: {repr(value)[:100]} (unknown)"


def _wanted(name: str, value: Any) -> str | None:
    """What an option has to be, where it is something else."""
    default = READ[name]
    if name in LISTS:
        items = value if isinstance(value, list) else [value]
        nested = [isinstance(item, list) for item in items]
        if any(nested) and (not all(nested) or name == "INPUT.MIN_SIZE_TRAIN"):
            return "numbers, or for each level a list of them"
        inner = [part for item in items for part in (item if isinstance(item, list) else [item])]
        good = 0 < len(inner) <= MAX_ITEMS and all(_is_number(v) and v >= 0 for v in inner)
        return None if good else "numbers from 0 on, or lists of them"
    if isinstance(default, list):
        kinds = {type(item) for item in default}
        if kinds == {list}:
            good = isinstance(value, list) and 0 < len(value) <= MAX_ITEMS
            good = good and all(_are_numbers(item, len(default[0])) for item in value)
            return None if good else f"a list of lists of {len(default[0])} numbers"
        if kinds == {float}:
            length = None if name.endswith(".IOUS") else len(default)
            wanted = f"a list of {length or 'some'} numbers"
            return None if _are_numbers(value, length) else wanted
        if kinds == {int}:
            good = isinstance(value, list) and 0 < len(value) <= MAX_ITEMS
            good = good and all(_is_width(v) for v in value)
            return None if good else f"a list of whole numbers up to {MAX_WIDTH}"
        good = isinstance(value, list) and all(isinstance(item, str) for item in value)
        return None if good else "a list of names"
    if isinstance(default, bool):
        return None if isinstance(value, bool) else "True or False"
    if isinstance(default, int):
        return None if _is_width(value) else f"a whole number up to {MAX_WIDTH}"
    if isinstance(default, float):
        return None if _is_number(value) else "a number"
    return None if isinstance(value, str) else "a text"


def _is_number(value: Any) -> bool:
    return is_number(value) and abs(value) <= MAX_VALUE


def _is_width(value: Any) -> bool:
    """Whether it is a whole number that a layer can have memory for; -1 stands for a default."""
    return isinstance(value, int) and not isinstance(value, bool) and -1 <= value <= MAX_WIDTH


def _are_numbers(value: Any, length: int | None) -> bool:
    good = isinstance(value, list) and 0 < len(value) <= MAX_ITEMS
    return good and len(value) == (length or len(value)) and all(map(_is_number, value))


def _with_bases(path: Path, inside: tuple[Path, ...]) -> dict:
    """The file's content on top of its ``_BASE_`` file's."""
    if not path.is_file():
        needed = f", the _BASE_ of {inside[-1]}" if inside else ""
        raise UserError(f"there is no config {path}{needed}.")
    if path.resolve() in inside:
        raise UserError(f"{path} is its own _BASE_.")
    if len(inside) > MAX_BASES:
        raise UserError(f"{path} is the _BASE_ of more than {MAX_BASES} files.")
    content = read_yaml(path, "config", _Loader)
    if not isinstance(content, dict):
        raise UserError(f"{path} is no config: it holds a {type(content).__name__}.")
    base = content.pop("_BASE_", None)
    if base is None:
        return content
    base = as_path(base, f"{path}: _BASE_")
    return _merge(_with_bases(path.parent / base, (*inside, path.resolve())), content)


def _merge(base: dict, top: dict) -> dict:
    merged = dict(base)
    for key, value in top.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merge(base[key], value) if both else value
    return merged


def _flat(content: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _plain(value)


def _plain(value: Any) -> Any:
    """What Detectron2 makes of a value: strings that are Python's literals are these.

    Zoo configs write tuples as strings, ``"(60000, 80000)"``, and YAML takes ``1e-4`` for one.
    Lists stand for tuples.
    """
    if isinstance(value, str) and not isinstance(value, Code) and len(value) <= MAX_LITERAL:
        try:
            literal = ast.literal_eval(value)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            return value
        return literal if isinstance(literal, str) else _plain(literal)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value

"""Published results of configs like ours: the paper, Detectron2 and mmdet.

The paper's numbers are in ``published.json``, those of models that can be fetched in the zoo's
``models.json``; here is which of them belong to which config. They are theirs, got with their code:
ours are what a trained checkpoint of this repository gives.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import NamedTuple

from mmdet_maskr.zoo.catalogue import PretrainedModel, models

PAPER = "He et al. 2017, arXiv 1703.06870v3, {}"
OTHER_BACKBONE = "; its backbone is Caffe's, with fixed batch normalization"
SOURCES = dict(detectron2="Detectron2", mmdet="mmdet", torchvision="torchvision")
KINDS = {"bbox": "box", "segm": "mask", "keypoints": "keypoint"}
# config: row of a table of the paper
PAPER_ROWS = {
    "maskr_r50_c4_160k": ("2a", "ResNet-50-C4"),
    "maskr_r101_c4_160k": ("2a", "ResNet-101-C4"),
    "maskr_r50_fpn_160k": ("2a", "ResNet-50-FPN"),
    "maskr_r101_fpn_160k": ("2a", "ResNet-101-FPN"),
    "maskr_x101-64x4d_fpn_160k": ("2a", "ResNeXt-101-FPN"),
    "maskr_r50_c5_160k": ("2d", "RoIAlign"),
    "compositions/faster_r101_fpn_160k": ("3", "Faster R-CNN, RoIAlign, ResNet-101-FPN"),
    "ablations/table_2b/maskr_r50_c4_softmax_160k": ("2b", "softmax"),
    "ablations/table_2c/maskr_r50_c4_roipool_max_160k": ("2c", "RoIPool max"),
    "ablations/table_2c/maskr_r50_c4_roiwarp_max_160k": ("2c", "RoIWarp max"),
    "ablations/table_2c/maskr_r50_c4_roiwarp_ave_160k": ("2c", "RoIWarp ave"),
    "ablations/table_2c/maskr_r50_c4_roialign_max_160k": ("2c", "RoIAlign max"),
    "ablations/table_2d/maskr_r50_c5_roipool_160k": ("2d", "RoIPool"),
    "ablations/table_2e/maskr_r50_fpn_mlp2_160k": ("2e", "MLP fc 1024-1024-80*28*28"),
    "ablations/table_2e/maskr_r50_fpn_mlp3_160k": ("2e", "MLP fc 1024-1024-1024-80*28*28"),
    "ablations/class_agnostic/maskr_r50_c4_class_agnostic_160k": (
        "class_specific",
        "class-agnostic",
    ),
    "ablations/table_5/maskr_person_box_90k": ("5", "Faster R-CNN"),
    "maskr_keypoint_mask_r50_fpn_90k": ("5", "keypoint and mask"),
    "ablations/table_5/maskr_person_mask_90k": ("5", "mask-only"),
    "ablations/table_6/maskr_keypoint_roipool_90k": ("6", "RoIPool"),
    "cityscapes/maskr_r50_fpn_24k": ("7", "fine"),
    "cityscapes/maskr_r50_fpn_coco_4k": ("7", "fine + COCO"),
}
# Configs that train as Detectron2's baselines do.
DETECTRON2_RECIPES = (
    *("maskr_r50-caffe_c4_ms-1x", "maskr_r50-caffe_c4_ms-3x", "maskr_r101-caffe_c4_ms-3x"),
    *("maskr_r50-caffe_dc5_ms-1x", "maskr_r50-caffe_dc5_ms-3x", "maskr_r101-caffe_dc5_ms-3x"),
    *("maskr_r50-caffe_fpn_ms-1x", "maskr_r50-caffe_fpn_ms-3x", "maskr_r50-caffe_fpn_ms-270k"),
    *("maskr_r101-caffe_fpn_ms-3x", "maskr_x101-32x8d_fpn_ms-3x", "maskr_keypoint_r50_fpn_90k"),
)
# ours have torchvision's backbone and batch normalization that learns
OTHER_BACKBONES = ("maskr_keypoint_r50_fpn_90k",)


class Published(NamedTuple):
    """Numbers of a counterpart.

    Attributes:
        source: who published them, and where.
        row: its name there.
        scores: AP in percent by name.
    """

    source: str
    row: str
    scores: dict[str, float]


@functools.cache
def numbers() -> dict:
    """The tables of the paper and of the model zoos, as they were published."""
    return json.loads(Path(__file__).with_name("published.json").read_text(encoding="utf-8"))


def published(name: str) -> Published | None:
    """The counterpart's numbers of a config, or None where there is none.

    Args:
        name: of the config, relative to the folder of configs, without ``.py``.
    """
    if name in PAPER_ROWS:
        table_name, row = PAPER_ROWS[name]
        table = numbers()["tables"][table_name]
        columns = table["columns"]
        if isinstance(table["metric"], str) and table_name != "7":
            kind = KINDS[table["metric"]]
            columns = [f"{kind} {column}" for column in columns]
        scores = dict(zip(columns, table["rows"][row], strict=True))
        scores = {name: score for name, score in scores.items() if score is not None}
        place = "section 4.2" if table_name == "class_specific" else f"Table {table_name}"
        return Published(PAPER.format(place), row, scores)
    others = counterparts(name)
    if not others:
        return None
    model = others[0]
    kinds = dict(box="box AP", mask="mask AP", keypoint="keypoint AP", PQ="PQ")
    place = model.facts.rpartition("/blob/")[2].partition("/")[2] if "/blob/" in model.facts else ""
    source = f"{SOURCES[model.source]} {place or 'model index'}"
    if name in OTHER_BACKBONES:
        source += OTHER_BACKBONE
    return Published(source, model.name, {kinds[kind]: value for kind, value in model.ap.items()})


def counterparts(name: str) -> list[PretrainedModel]:
    """Pretrained models of others that correspond to a config, the nearest first."""
    return [model for model in models() if name in model.configs]

"""The ablation tables of He et al. 2017: rows, their configs, their metrics, the paper's numbers.

A row is two configs, one for COCO and one in miniature. The numbers are those that
:mod:`mmdet_maskr.catalogue.published` has; a row that the paper's table lacks is extra.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mmdet_maskr.catalogue.published import numbers
from mmdet_maskr.errors import UserError

SCALES = ("coco", "mini")
METRIC_KEYS = {
    "AP": "mAP",
    "AP50": "mAP_50",
    "AP75": "mAP_75",
    "APs": "mAP_s",
    "APm": "mAP_m",
    "APl": "mAP_l",
}
BRANCHES = {"box": "bbox", "mask": "segm", "keypoint": "keypoints"}


@dataclass(frozen=True, eq=False)
class TableRow:
    """One row of a table.

    Attributes:
        name: as in the paper.
        coco: path of the config for COCO, relative to ``configs/``.
        mini: path of the config in miniature.
        cost: the model of Detectron2's zoo that is nearest to it.
        cost_factor: how many times as many pixels an image has as there.
        extra: the paper's table has no such row.
        against: the row that it is compared with; None for the table's baseline.
        paper_difference: where the paper gives the difference in its text, by column.
        mini_weights: config in miniature whose run, with the same seed, gives the first weights.
    """

    name: str
    coco: str
    mini: str
    cost: str = "R50-FPN 1x"
    cost_factor: float = 1.0
    extra: bool = False
    against: str | None = None
    paper_difference: Mapping[str, float] = field(default_factory=dict)
    mini_weights: str | None = None

    def config(self, scale: str) -> str:
        """Path of the config of a scale, relative to ``configs/``."""
        return {"coco": self.coco, "mini": self.mini}[scale]


@dataclass(frozen=True, eq=False)
class Table:
    """A table of the paper.

    Attributes:
        name: what the tool calls it.
        title: its caption, in short.
        columns: for each column its metric, None where it cannot be had (test servers).
        rows: in the paper's order, extra rows last.
        baseline: the row that others are compared with.
        paper: the paper's numbers in percent, by row and column.
    """

    name: str
    title: str
    columns: Mapping[str, str | None]
    rows: tuple[TableRow, ...]
    baseline: str
    paper: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def row(self, name: str) -> TableRow:
        """The row of this name."""
        return next(row for row in self.rows if row.name == name)

    def against(self, row: TableRow) -> str | None:
        """Name of the row that ``row`` is compared with; None for a baseline."""
        name = row.against or self.baseline
        return None if name == row.name else name

    def paper_difference(self, row: TableRow, column: str) -> float | None:
        """The paper's difference of a row to the one it is compared with, in points of AP."""
        if column in row.paper_difference:
            return row.paper_difference[column]
        other = self.against(row)
        own = self.paper.get(row.name, {}).get(column)
        base = None if other is None else self.paper.get(other, {}).get(column)
        return None if own is None or base is None else round(own - base, 1)


def _table(name: str, baseline: str, rows: tuple[TableRow, ...], key: str | None = None) -> Table:
    """A table with the paper's columns and numbers."""
    data = numbers()["tables"][key or name]
    paper = {
        row: {c: v for c, v in zip(data["columns"], values, strict=True) if v is not None}
        for row, values in data["rows"].items()
    }
    columns = {column: _metric(column, data["metric"]) for column in data["columns"]}
    return Table(name, data["title"], columns, rows, baseline, paper)


def _metric(column: str, branch: str | list[str]) -> str | None:
    """'mask AP75' -> 'segm_mAP_75'; None for results of a test server."""
    kind, _, ap = column.rpartition(" ")
    if kind == "test":
        return None
    return f"{BRANCHES.get(kind, branch)}_{METRIC_KEYS[ap]}"


def _row(name: str, coco: str, mini: str, cost: str = "R50-FPN 1x", **options: Any) -> TableRow:
    return TableRow(name, f"{coco}.py", f"{mini}.py", cost, **options)


def _ablation(
    base: TableRow, folder: str, name: str, coco: str, mini: str, **options: Any
) -> TableRow:
    """A row with configs of its own; on COCO it costs what the row that it departs from costs."""
    folder = f"ablations/{folder}"
    return _row(name, f"{folder}/{coco}", f"{folder}/{mini}", base.cost, **options)


# Rows of the backbones and of the branches. Most tables name one of them as their default.
_BOTH = "keypoint and mask"
_R50_C4 = _row("ResNet-50-C4", "maskr_r50_c4_160k", "mini/ablation_c4", "R50-C4 1x")
_R101_C4 = _row(
    "ResNet-101-C4", "maskr_r101_c4_160k", "ablations/table_2a/maskr_mini_r34_c4", "R101-C4 3x"
)
_R50_C5 = _row("RoIAlign", "maskr_r50_c5_160k", "mini/ablation_c5", "R50-DC5 1x")
_R50 = _row("ResNet-50-FPN", "maskr_r50_fpn_160k", "mini/ablation_fpn")
_R101 = _row(
    "ResNet-101-FPN", "maskr_r101_fpn_160k", "ablations/table_2a/maskr_mini_r34_fpn", "R101-FPN 3x"
)
_X101 = _row(
    "ResNeXt-101-FPN",
    "maskr_x101-64x4d_fpn_160k",
    "ablations/table_2a/maskr_mini_x50_fpn",
    "X101-32x8d-FPN 3x",
)
_KEYPOINT = _row(
    "keypoint-only",
    "maskr_keypoint_r50_fpn_90k",
    "ablations/table_4/maskr_mini_keypoint",
    "keypoint R50-FPN 1x",
)
_KEYPOINT_MASK = _row(
    _BOTH, "maskr_keypoint_mask_r50_fpn_90k", "mini/ablation_keypoint_mask", "keypoint R50-FPN 1x"
)


def _c4(folder: str, name: str, stem: str) -> TableRow:
    return _ablation(_R50_C4, folder, name, f"maskr_r50_c4_{stem}_160k", f"maskr_mini_c4_{stem}")


def _fpn(folder: str, name: str, stem: str, **options: Any) -> TableRow:
    configs = f"maskr_r50_fpn_{stem}_160k", f"maskr_mini_fpn_{stem}"
    return _ablation(_R50, folder, name, *configs, **options)


_FCN = "FCN conv 256x4-80"
_MASKR_R101 = "Mask R-CNN, ResNet-101-FPN"
_CITYSCAPES = 1024 * 2048 / (800 * 1333)  # times the pixels of COCO

_TABLES = (
    _table("1", "ResNet-101-FPN", (_R101_C4, _R101, _X101)),
    _table("2a", "ResNet-50-C4", (_R50_C4, _R101_C4, _R50, _R101, _X101)),
    _table(
        "2b",
        "sigmoid",
        (_c4("table_2b", "softmax", "softmax"), replace(_R50_C4, name="sigmoid")),
    ),
    _table(
        "class-agnostic",
        "class-specific",
        (
            _c4("class_agnostic", "class-agnostic", "class_agnostic"),
            replace(_R50_C4, name="class-specific"),
        ),
        key="class_specific",
    ),
    _table(
        "2c",
        "RoIAlign ave",
        (
            _c4("table_2c", "RoIPool max", "roipool_max"),
            _c4("table_2c", "RoIWarp max", "roiwarp_max"),
            _c4("table_2c", "RoIWarp ave", "roiwarp_ave"),
            _c4("table_2c", "RoIAlign max", "roialign_max"),
            replace(_R50_C4, name="RoIAlign ave"),
        ),
    ),
    _table(
        "2d",
        "RoIAlign",
        (
            _ablation(
                _R50_C5, "table_2d", "RoIPool", "maskr_r50_c5_roipool_160k", "maskr_mini_c5_roipool"
            ),
            _R50_C5,
            _fpn(
                "table_2d",
                "RoIPool, FPN",
                "roipool",
                extra=True,
                against="RoIAlign, FPN",
                # section 4.2: "RoIAlign shows a gain of 1.5 mask AP and 0.5 box AP" with FPN
                paper_difference={"mask AP": -1.5, "box AP": -0.5},
            ),
            replace(_R50, name="RoIAlign, FPN", extra=True, against="RoIAlign, FPN"),
        ),
    ),
    _table(
        "2e",
        _FCN,
        (
            _fpn("table_2e", "MLP fc 1024-1024-80*28*28", "mlp2"),
            _fpn("table_2e", "MLP fc 1024-1024-1024-80*28*28", "mlp3"),
            replace(_R50, name=_FCN),
            _fpn("table_2e", "FCN conv 256x2-80", "fcn2", extra=True),
            _fpn("table_2e", "FCN, masks of 14x14", "mask14", extra=True),
            _fpn("table_2e", "FCN, masks of 56x56", "mask56", extra=True),
        ),
    ),
    _table(
        "3",
        _MASKR_R101,
        (
            _row(
                "Faster R-CNN, RoIAlign, ResNet-101-FPN",
                "compositions/faster_r101_fpn_160k",
                "ablations/table_3/faster_mini_r34_fpn",
                _R101.cost,
            ),
            replace(_R101, name=_MASKR_R101),
            replace(_X101, name="Mask R-CNN, ResNeXt-101-FPN"),
        ),
    ),
    _table("4", "keypoint-only", (_KEYPOINT, _KEYPOINT_MASK)),
    _table(
        "5",
        _BOTH,
        (
            _ablation(
                _R50, "table_5", "Faster R-CNN", "maskr_person_box_90k", "maskr_mini_figure_box"
            ),
            _ablation(
                _R50, "table_5", "mask-only", "maskr_person_mask_90k", "maskr_mini_figure_mask"
            ),
            _KEYPOINT,
            _KEYPOINT_MASK,
        ),
    ),
    _table(
        "6",
        "RoIAlign",
        (
            _ablation(
                _KEYPOINT,
                "table_6",
                "RoIPool",
                "maskr_keypoint_roipool_90k",
                "maskr_mini_keypoint_roipool",
            ),
            replace(_KEYPOINT, name="RoIAlign"),
        ),
    ),
    _table(
        "7",
        "fine",
        (
            _row(
                "fine",
                "cityscapes/maskr_r50_fpn_24k",
                "ablations/table_7/maskr_mini_fine",
                cost_factor=_CITYSCAPES,
            ),
            _row(
                "fine + COCO",
                "cityscapes/maskr_r50_fpn_coco_4k",
                "ablations/table_7/maskr_mini_fine",
                mini_weights="mini/ablation_fpn.py",
                cost_factor=_CITYSCAPES,
            ),
        ),
    ),
)
TABLES = {table.name: table for table in _TABLES}


def select_tables(names: list[str], tables: Mapping[str, Table] = TABLES) -> list[Table]:
    """Tables by name; 'all' for all of them.

    Raises:
        UserError: an unknown name.
    """
    if "all" in names:
        return list(tables.values())
    unknown = [name for name in names if name not in tables]
    if unknown:
        raise UserError(f"there is no table {unknown[0]!r}: they are {', '.join(tables)}, or all.")
    return [tables[name] for name in names]


def select_rows(table: Table, patterns: list[str] | None) -> list[TableRow]:
    """Rows that ``patterns`` name, ignoring case: whole names, else parts; all for None."""
    if patterns is None:
        return list(table.rows)
    names = {row: row.name.lower() for row in table.rows}
    chosen: set[TableRow] = set()
    for pattern in map(str.lower, patterns):
        whole = {row for row, name in names.items() if name == pattern}
        chosen |= whole or {row for row, name in names.items() if pattern in name}
    return [row for row in table.rows if row in chosen]

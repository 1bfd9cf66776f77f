"""The ablation tables of He et al. 2017: rows, their configs, their metrics, the paper's numbers.

A row is two configs, one for COCO and one in miniature. The numbers are those of ``paper.json``,
which is found by table and row; a row that the paper's table has not got is marked as extra.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

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
class Row:
    """One row of a table.

    Attributes:
        name: as in the paper.
        coco: path of the config for COCO, relative to ``configs/``.
        mini: path of the config in miniature.
        cost: the entry of ``seconds_per_iteration`` in ``paper.json`` that is nearest to it.
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
    rows: tuple[Row, ...]
    baseline: str
    paper: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def row(self, name: str) -> Row:
        """The row of this name."""
        return next(row for row in self.rows if row.name == name)

    def against(self, row: Row) -> str | None:
        """Name of the row that ``row`` is compared with; None for a baseline."""
        name = row.against or self.baseline
        return None if name == row.name else name

    def paper_difference(self, row: Row, column: str) -> float | None:
        """The paper's difference of a row to the one it is compared with, in points of AP."""
        if column in row.paper_difference:
            return row.paper_difference[column]
        other = self.against(row)
        own = self.paper.get(row.name, {}).get(column)
        base = None if other is None else self.paper.get(other, {}).get(column)
        return None if own is None or base is None else round(own - base, 1)


@functools.cache
def paper_data() -> dict:
    """``paper.json``: the paper's tables and Detectron2's training times."""
    return json.loads(Path(__file__).with_name("paper.json").read_text(encoding="utf-8"))


def _table(name: str, baseline: str, rows: tuple[Row, ...], key: str | None = None) -> Table:
    """A table with columns and numbers from ``paper.json``."""
    data = paper_data()["tables"][key or name]
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


def _ablation(folder: str, coco: str, mini: str) -> dict[str, str]:
    return dict(coco=f"ablations/{folder}/{coco}.py", mini=f"ablations/{folder}/{mini}.py")


def _c4(table: str, name: str, stem: str) -> Row:
    configs = _ablation(table, f"maskr_r50_c4_{stem}_1x", f"maskr_mini_c4_{stem}")
    return Row(name, **configs, cost="R50-C4 1x")


def _fpn(table: str, name: str, stem: str, **options) -> Row:
    return Row(
        name, **_ablation(table, f"maskr_r50_fpn_{stem}_1x", f"maskr_mini_fpn_{stem}"), **options
    )


def _keypoint(table: str, name: str, coco: str, mini: str, cost: str = "keypoint R50-FPN 1x"):
    return Row(name, **_ablation(table, coco, mini), cost=cost)


_MLP = "MLP fc 1024-1024-80*28*28"
_MLP3 = "MLP fc 1024-1024-1024-80*28*28"
_FCN = "FCN conv 256x4-80"
_BOTH = "keypoint and mask"

_TABLES = (
    _table(
        "2b",
        "sigmoid",
        (_c4("table_2b", "softmax", "softmax"), _c4("table_2b", "sigmoid", "sigmoid")),
    ),
    _table(
        "class-agnostic",
        "class-specific",
        (
            _c4("class_agnostic", "class-agnostic", "class_agnostic"),
            _c4("class_agnostic", "class-specific", "class_specific"),
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
            _c4("table_2c", "RoIAlign ave", "roialign_ave"),
        ),
    ),
    _table(
        "2e",
        _FCN,
        (
            _fpn("table_2e", _MLP, "mlp2"),
            _fpn("table_2e", _MLP3, "mlp3"),
            _fpn("table_2e", _FCN, "fcn"),
            _fpn("table_2e", "FCN conv 256x2-80", "fcn2", extra=True),
            _fpn("table_2e", "FCN, masks of 14x14", "mask14", extra=True),
            _fpn("table_2e", "FCN, masks of 56x56", "mask56", extra=True),
        ),
    ),
    _table(
        "4",
        "keypoint-only",
        (
            _keypoint(
                "table_4", "keypoint-only", "maskr_keypoint_r50_fpn_1x", "maskr_mini_keypoint"
            ),
            _keypoint(
                "table_4", _BOTH, "maskr_keypoint_mask_r50_fpn_1x", "maskr_mini_keypoint_mask"
            ),
        ),
    ),
    _table(
        "5",
        _BOTH,
        (
            _keypoint(
                "table_5",
                "Faster R-CNN",
                "maskr_person_box_1x",
                "maskr_mini_figure_box",
                "R50-FPN 1x",
            ),
            _keypoint(
                "table_5",
                "mask-only",
                "maskr_person_mask_1x",
                "maskr_mini_figure_mask",
                "R50-FPN 1x",
            ),
            _keypoint(
                "table_5",
                "keypoint-only",
                "maskr_person_keypoint_1x",
                "maskr_mini_figure_keypoint",
            ),
            _keypoint(
                "table_5",
                _BOTH,
                "maskr_person_keypoint_mask_1x",
                "maskr_mini_figure_keypoint_mask",
            ),
        ),
    ),
    _table(
        "6",
        "RoIAlign",
        (
            _keypoint(
                "table_6", "RoIPool", "maskr_keypoint_roipool_1x", "maskr_mini_keypoint_roipool"
            ),
            _keypoint(
                "table_6", "RoIAlign", "maskr_keypoint_roialign_1x", "maskr_mini_keypoint_roialign"
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


def select_rows(table: Table, patterns: list[str] | None) -> list[Row]:
    """Rows whose name contains one of ``patterns``, in whatever case; all for None."""
    if patterns is None:
        return list(table.rows)
    return [row for row in table.rows if any(p.lower() in row.name.lower() for p in patterns)]

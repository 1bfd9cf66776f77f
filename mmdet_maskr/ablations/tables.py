"""The ablation tables of He et al. 2017: rows, their configs, their metrics, the paper's numbers.

A row is two configs, one for COCO and one in miniature. The numbers are those that
:mod:`mmdet_maskr.catalogue.published` has; a row that the paper's table has not got is extra.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

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


def _ablation(folder: str, coco: str, mini: str) -> dict[str, str]:
    return dict(coco=f"ablations/{folder}/{coco}.py", mini=f"ablations/{folder}/{mini}.py")


def _c4(table: str, name: str, stem: str) -> TableRow:
    configs = _ablation(table, f"maskr_r50_c4_{stem}_160k", f"maskr_mini_c4_{stem}")
    return TableRow(name, **configs, cost="R50-C4 1x")


def _fpn(table: str, name: str, stem: str, **options) -> TableRow:
    return TableRow(
        name, **_ablation(table, f"maskr_r50_fpn_{stem}_160k", f"maskr_mini_fpn_{stem}"), **options
    )


def _keypoint(
    table: str, name: str, coco: str, mini: str, cost: str = "keypoint R50-FPN 1x"
) -> TableRow:
    return TableRow(name, **_ablation(table, coco, mini), cost=cost)


def _body(table: str, name: str, coco: str, mini: str, cost: str) -> TableRow:
    """A row whose config for COCO is a model of its own and not an ablation."""
    return TableRow(name, f"{coco}_160k.py", f"ablations/{table}/{mini}.py", cost)


_MLP = "MLP fc 1024-1024-80*28*28"
_MLP3 = "MLP fc 1024-1024-1024-80*28*28"
_FCN = "FCN conv 256x4-80"
_BOTH = "keypoint and mask"
_MASKR_R101 = "Mask R-CNN, ResNet-101-FPN"
_R101, _X101 = "R101-FPN 3x", "X101-32x8d-FPN 3x"
_CITYSCAPES = dict(cost_factor=1024 * 2048 / (800 * 1333))

_TABLES = (
    _table(
        "1",
        "ResNet-101-FPN",
        (
            _body("table_1", "ResNet-101-C4", "maskr_r101_c4", "maskr_mini_r34_c4", "R101-C4 3x"),
            _body("table_1", "ResNet-101-FPN", "maskr_r101_fpn", "maskr_mini_r34_fpn", _R101),
            _body(
                "table_1", "ResNeXt-101-FPN", "maskr_x101-64x4d_fpn", "maskr_mini_x50_fpn", _X101
            ),
        ),
    ),
    _table(
        "2a",
        "ResNet-50-C4",
        (
            _body("table_2a", "ResNet-50-C4", "maskr_r50_c4", "maskr_mini_r18_c4", "R50-C4 1x"),
            _body("table_2a", "ResNet-101-C4", "maskr_r101_c4", "maskr_mini_r34_c4", "R101-C4 3x"),
            _body("table_2a", "ResNet-50-FPN", "maskr_r50_fpn", "maskr_mini_r18_fpn", "R50-FPN 1x"),
            _body("table_2a", "ResNet-101-FPN", "maskr_r101_fpn", "maskr_mini_r34_fpn", _R101),
            _body(
                "table_2a", "ResNeXt-101-FPN", "maskr_x101-64x4d_fpn", "maskr_mini_x50_fpn", _X101
            ),
        ),
    ),
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
        "2d",
        "RoIAlign",
        (
            TableRow(
                "RoIPool",
                **_ablation("table_2d", "maskr_r50_c5_roipool_160k", "maskr_mini_c5_roipool"),
                cost="R50-DC5 1x",
            ),
            TableRow(
                "RoIAlign",
                **_ablation("table_2d", "maskr_r50_c5_roialign_160k", "maskr_mini_c5_roialign"),
                cost="R50-DC5 1x",
            ),
            _fpn(
                "table_2d",
                "RoIPool, FPN",
                "roipool",
                extra=True,
                against="RoIAlign, FPN",
                # section 4.2: "RoIAlign shows a gain of 1.5 mask AP and 0.5 box AP" with FPN
                paper_difference={"mask AP": -1.5, "box AP": -0.5},
            ),
            _fpn("table_2d", "RoIAlign, FPN", "roialign", extra=True, against="RoIAlign, FPN"),
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
        "3",
        _MASKR_R101,
        (
            _body(
                "table_3",
                "Faster R-CNN, RoIAlign, ResNet-101-FPN",
                "compositions/faster_r101_fpn",
                "faster_mini_r34_fpn",
                _R101,
            ),
            _body("table_3", _MASKR_R101, "maskr_r101_fpn", "maskr_mini_r34_fpn", _R101),
            _body(
                "table_3",
                "Mask R-CNN, ResNeXt-101-FPN",
                "maskr_x101-64x4d_fpn",
                "maskr_mini_x50_fpn",
                _X101,
            ),
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
    _table(
        "7",
        "fine",
        (
            TableRow(
                "fine",
                "cityscapes/maskr_r50_fpn_24k.py",
                "ablations/table_7/maskr_mini_fine.py",
                **_CITYSCAPES,
            ),
            TableRow(
                "fine + COCO",
                "cityscapes/maskr_r50_fpn_coco_4k.py",
                "ablations/table_7/maskr_mini_fine_pretrained.py",
                mini_weights="mini/ablation_fpn.py",
                **_CITYSCAPES,
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
    """Rows that ``patterns`` name, in whatever case: whole names, else parts; all for None."""
    if patterns is None:
        return list(table.rows)
    names = {row: row.name.lower() for row in table.rows}
    chosen: set[TableRow] = set()
    for pattern in map(str.lower, patterns):
        whole = {row for row, name in names.items() if name == pattern}
        chosen |= whole or {row for row, name in names.items() if pattern in name}
    return [row for row in table.rows if row in chosen]

"""Mean, spread and differences of results; Markdown, CSV and PNG; pages that keep prose."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import cv2
import pytest
import toy_table as toy

from mmdet_maskr.ablations.report import csv_text, markdown, update_page, write_report
from mmdet_maskr.ablations.results import Summary, read_records
from mmdet_maskr.ablations.tables import TABLES
from mmdet_maskr.errors import UserError

VALUES = {"align": (40.0, 42.0, 44.0), "pool": (35.0, 39.0, 37.0)}


@pytest.fixture
def table():
    return toy.make_table(["align", "pool"])


@pytest.fixture
def records() -> list[dict]:
    return [
        dict(
            table="toy",
            row=row,
            scale="mini",
            seed=seed,
            metrics={"segm_mAP": value, "segm_mAP_75": value / 2},
            config=f"configs/{row}.py",
            seconds=60.0 + seed,
        )
        for row, values in VALUES.items()
        for seed, value in enumerate(values)
    ]


def test_mean_spread_difference(table, records):
    """Differences are taken seed by seed: -5, -3, -7 here, so -5 ± 2 and not ± 2.8."""
    summary = Summary(table, "mini", records)
    assert summary.ours(table.rows[0], "AP").mean == 42.0
    assert summary.ours(table.rows[0], "AP").std == 2.0
    difference = summary.difference(table.rows[1], "AP")
    assert difference.values == {0: -5.0, 1: -3.0, 2: -7.0}
    assert (difference.mean, difference.std) == (-5.0, 2.0)
    assert summary.difference(table.rows[0], "AP").mean is None
    del records[0]  # only the seeds that both rows have
    assert Summary(table, "mini", records).difference(table.rows[1], "AP").mean == -5.0
    assert Summary(table, "coco", records).empty


def test_markdown(table, records):
    lines = markdown(Summary(table, "mini", records)).splitlines()
    assert lines[0] == "| row | seeds | AP | paper | AP75 | paper |"
    assert lines[2] == "| align (baseline) | 3 | 42.0 ± 2.0 | 30.0 | 21.0 ± 1.0 | 31.0 |"
    assert lines[3].startswith("| pool | 3 | 37.0 ± 2.0 (−5.0 ± 2.0) | 26.5 (−3.5) | 18.5 ± 1.0 ")


def test_incomplete(table, records):
    """One seed has no spread, a failed row says why, a missing one is empty."""
    failed = dict(table="toy", row="pool", scale="mini", seed=0, failure="exit code 2: no disk")
    lines = markdown(Summary(table, "mini", [records[0], failed])).splitlines()
    assert lines[2].startswith("| align (baseline) | 1 | 40.0 | 30.0 |")
    assert lines[3] == "| pool | 0 |  | 26.5 (−3.5) |  | 25.0 (−6.0) |"
    assert "pool, seed 0, failed: exit code 2: no disk" in lines


def test_csv(table, records):
    rows = list(csv.DictReader(csv_text(Summary(table, "mini", records)).splitlines()))
    pool = next(row for row in rows if (row["row"], row["column"]) == ("pool", "AP75"))
    assert (pool["mean"], pool["std"], pool["difference"]) == ("18.50", "1.00", "-2.50")
    assert (pool["paper"], pool["paper_difference"]) == ("25.0", "-6")
    assert pool["values"] == "0:17.5 1:19.5 2:18.5"


def test_files(table, records, tmp_path: Path):
    """A figure with both colors in it; results of other tables stay in results.json."""
    write_report([table], "mini", records, tmp_path)
    other = {**records[0], "table": "other"}
    (tmp_path / "results.json").write_text(json.dumps([other, *records[:2]]))
    write_report([table], "mini", records, tmp_path)
    assert read_records(tmp_path / "results.json") == [other, *records]
    picture = cv2.imread(str(tmp_path / "table_toy_mini.png"))
    for red, green, blue in ((0x1F, 0x6F, 0xB4), (0xD1, 0x60, 0x3D)):
        assert (picture == (blue, green, red)).all(-1).sum() > 20


def test_page_keeps_prose(table, records, tmp_path: Path):
    """Text around the marks stays when the tables are written anew."""
    page = tmp_path / "ablations.md"
    update_page(page, [table], "mini", records)
    text = page.read_text()
    assert "## Table" not in text and "## Section 4.2: Counting" in text
    page.write_text(text.replace("<!-- end -->", "<!-- end -->\nWhy it is so."))
    for record in records:
        record["metrics"]["segm_mAP"] += 1
    update_page(page, [table], "mini", records)
    text = page.read_text()
    assert "Why it is so." in text and "43.0 ± 2.0" in text and "42.0 ± 2.0" not in text
    assert text.count("![") == 1 and "(ablations/table_toy_mini.png)" in text


def test_page_is_in_the_papers_order(tmp_path: Path):
    """A new table goes before those that follow it in the paper, and takes no prose away."""
    page = tmp_path / "ablations.md"
    for name in ("2d", "6", "2b", "2c"):
        table = TABLES[name]
        metrics = {metric: 0.3 for metric in table.columns.values() if metric}
        record = dict(
            table=name,
            row=table.baseline,
            scale="mini",
            seed=0,
            metrics=metrics,
            config="",
            seconds=1,
        )
        update_page(page, [table], "mini", [record])
        page.write_text(f"{page.read_text().rstrip()}\n\nLast when {name} was added.\n")
    text = page.read_text()
    places = [text.index(f"## Table {name}: ") for name in ("2b", "2c", "2d", "6")]
    assert places == sorted(places)
    assert places[2] < text.index("Last when 2d") < places[3] < text.index("Last when 2c")
    assert text.count("<!-- end -->\n\n## Table") == 2 and text.count("\n\n\n") == 0


def test_bad_results(tmp_path: Path):
    with pytest.raises(UserError, match="no results in"):
        read_records(tmp_path / "none.json")
    (tmp_path / "some.json").write_text('[{"table": "2c", "row": "x"}]')
    with pytest.raises(UserError, match="record 0 has no scale"):
        read_records(tmp_path / "some.json")


def test_page_of_the_documentation(repo: Path, tmp_path: Path):
    """The tables in docs/ablations.md are those of its results.json, and the figures are there."""
    page = repo / "docs" / "ablations.md"
    copy = tmp_path / "ablations.md"
    copy.write_text(page.read_text())
    records = read_records(repo / "docs" / "ablations" / "results.json")
    update_page(copy, list(TABLES.values()), "mini", records)
    assert copy.read_text() == page.read_text()
    figures = re.findall(r"\]\((ablations/.*?\.png)\)", page.read_text())
    assert len(figures) == len({record["table"] for record in records}) > 0
    assert all((repo / "docs" / figure).is_file() for figure in figures)

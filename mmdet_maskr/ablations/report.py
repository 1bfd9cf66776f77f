"""Tables of results: Markdown, CSV, and the pages of ``docs/``."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from itertools import dropwhile
from pathlib import Path

from mmdet_maskr.ablations.figure import draw_differences
from mmdet_maskr.ablations.jobs import write_json
from mmdet_maskr.ablations.results import Spread, Summary, read_records
from mmdet_maskr.ablations.tables import TABLES, Table, TableRow
from mmdet_maskr.atomic_files import write_whole
from mmdet_maskr.data_files import read_text

CSV_COLUMNS = (
    "table",
    "row",
    "extra",
    "scale",
    "column",
    "seeds",
    "mean",
    "std",
    "difference",
    "difference_std",
    "paper",
    "paper_difference",
    "values",
)
MINUS = "\N{MINUS SIGN}"


def stem(table: Table, scale: str) -> str:
    """Name of the table's files, without ending."""
    return f"table_{table.name.replace('-', '_')}_{scale}"


def markdown(summary: Summary) -> str:
    """The table in Markdown: for each column ours (mean ± std over seeds) and the paper's.

    In brackets the difference to the baseline row, or to the row that is named.
    """
    table = summary.table
    head = ["row", "seeds"]
    for column in table.columns:
        head += [column, "paper"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in table.rows:
        cells = [_label(table, row), str(len(summary.seeds(row)))]
        for column in table.columns:
            cells.append(_ours(summary.ours(row, column), summary.difference(row, column)))
            paper = table.paper.get(row.name, {}).get(column)
            difference = table.paper_difference(row, column)
            cells.append(_cell(_number(paper), _number(difference, signed=True)))
        lines.append("| " + " | ".join(cells) + " |")
    for row in table.rows:
        for seed, reason in summary.failures(row).items():
            lines.append(f"\n{row.name}, seed {seed}, failed: {reason}")
    return "\n".join(lines) + "\n"


def _label(table: Table, row: TableRow) -> str:
    notes = ["extra"] * row.extra
    if table.against(row) is None:
        notes.append("baseline")
    if row.against is not None:
        notes.append(f"against {row.against}")
    return row.name + (f" ({', '.join(notes)})" if notes else "")


def _number(value: float | None, signed: bool = False) -> str:
    if value is None:
        return ""
    text = f"{value:+.1f}" if signed else f"{value:.1f}"
    return text.replace("-", MINUS)


def _spread(spread: Spread, signed: bool = False) -> str:
    text = _number(spread.mean, signed)
    return text if spread.std is None else f"{text} ± {spread.std:.1f}"


def _cell(value: str, difference: str) -> str:
    return f"{value} ({difference})".strip() if difference else value


def _ours(values: Spread, difference: Spread) -> str:
    return _cell(_spread(values), _spread(difference, signed=True))


def csv_text(summary: Summary) -> str:
    """The table as CSV, a line for each row and column of it."""
    table = summary.table
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for row in table.rows:
        for column in table.columns:
            ours, difference = summary.ours(row, column), summary.difference(row, column)
            values = (ours.mean, ours.std, difference.mean, difference.std)
            writer.writerow(
                [
                    table.name,
                    row.name,
                    int(row.extra),
                    summary.scale,
                    column,
                    len(ours.values),
                    *("" if value is None else f"{value:.2f}" for value in values),
                    table.paper.get(row.name, {}).get(column, ""),
                    _plain(table.paper_difference(row, column)),
                    " ".join(f"{seed}:{value:g}" for seed, value in ours.values.items()),
                ]
            )
    return stream.getvalue()


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def write_report(
    tables: Sequence[Table], scale: str, records: Sequence[dict], out_dir: Path, pages: bool = True
) -> list[Path]:
    """Write Markdown, CSV and figure of each table that has records, and ``results.json``.

    Records of other tables and scales that ``results.json`` has already stay in it.

    Args:
        tables: which.
        scale: 'coco' or 'mini'.
        records: of any tables and scales.
        out_dir: is made if need be.
        pages: also write a Markdown file for each table.

    Returns:
        The files.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    files = [out_dir / "results.json"]
    shown = {(table.name, scale) for table in tables}
    old = read_records(files[0]) if files[0].is_file() else []
    others = [r for r in old if (r["table"], r["scale"]) not in shown]
    records = [r for r in records if (r["table"], r["scale"]) in shown]
    write_json(files[0], others + records)
    for table in tables:
        summary = Summary(table, scale, records)
        if summary.empty:
            continue
        name = stem(table, scale)
        texts = {".md": _page(summary)} if pages else {}
        for ending, text in {**texts, ".csv": csv_text(summary)}.items():
            files.append(out_dir / f"{name}{ending}")
            write_whole(files[-1], text)
        files.append(draw_differences(summary, out_dir / f"{name}.png"))
    return files


def title(table: Table) -> str:
    """'Table 2c: RoI layer (ResNet-50-C4)'."""
    if table.name[0].isdigit():
        return f"Table {table.name}: {table.title}"
    return f"Section 4.2: {table.title.replace(', section 4.2', '')}"


def _page(summary: Summary) -> str:
    table, scale = summary.table, summary.scale
    return (
        f"{title(table)}\n\n{markdown(summary)}\n"
        f"Ours: mean ± standard deviation over seeds at --scale {scale}; in brackets the "
        "difference to the baseline row, mean ± standard deviation of the differences seed by "
        "seed.\n"
        f"Command: `python tools/ablate.py run {table.name} --scale {scale} --seeds "
        f"{max((len(summary.seeds(row)) for row in table.rows), default=0)}`\n"
    )


def update_page(page: Path, tables: Sequence[Table], scale: str, records: Sequence[dict]) -> None:
    """Put the tables into a Markdown page between the marks of each; all else there stays.

    A mark is a line ``<!-- results of TABLE --scale SCALE -->``, and its end ``<!-- end -->``.
    A table without marks gets a section: before the first on the page that comes after it in
    ``TABLES``, else at the end.
    """
    text = read_text(page, "page") if page.is_file() else "# The paper's tables\n"
    for table in tables:
        summary = Summary(table, scale, records)
        if summary.empty:
            continue
        mark = f"<!-- results of {table.name} --scale {scale} -->"
        folder = page.stem
        figure = f"![{title(table)}]({folder}/{stem(table, scale)}.png)"
        body = f"{mark}\n{_page(summary).split(chr(10), 2)[2]}\n{figure}\n<!-- end -->"
        pattern = re.compile(re.escape(mark) + r".*?<!-- end -->", re.DOTALL)
        if pattern.search(text):
            text = pattern.sub(body.replace("\\", r"\\"), text)
        else:
            place = _place(text, table)
            before, after = text[:place].rstrip(), text[place:]
            text = f"{before}\n\n{_heading(table)}\n\n{body}\n" + (after and f"\n{after}")
    write_whole(page, text)


def _heading(table: Table) -> str:
    return f"## {title(table)}"


def _place(text: str, table: Table) -> int:
    """Where in the page the table's section belongs."""
    later = list(dropwhile(lambda name: name != table.name, TABLES))[1:]
    places = [text.find(f"\n{_heading(TABLES[name])}\n") for name in later]
    return min((place + 1 for place in places if place >= 0), default=len(text))

"""Results of rows over seeds: mean, spread, differences to the baseline row.

A record is ``{table, row, scale, seed, metrics, config, seconds}``; metrics are in percent. One
with ``failure`` instead of metrics says why a row has none.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmdet_maskr.ablations.jobs import FILES, Job, read_json
from mmdet_maskr.ablations.tables import Table, TableRow
from mmdet_maskr.data_files import field
from mmdet_maskr.errors import UserError

KEYS = ("table", "row", "scale", "seed", "metrics", "config", "seconds")


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation of values by seed; None where there are too few."""

    values: dict[int, float]

    @property
    def mean(self) -> float | None:
        """Mean over seeds; None without any."""
        return statistics.fmean(self.values.values()) if self.values else None

    @property
    def std(self) -> float | None:
        """Sample standard deviation over seeds; None for fewer than two."""
        return statistics.stdev(self.values.values()) if len(self.values) > 1 else None

    def minus(self, other: Spread) -> Spread:
        """Differences seed by seed, of the seeds that both have."""
        seeds = sorted(self.values.keys() & other.values.keys())
        return Spread({seed: self.values[seed] - other.values[seed] for seed in seeds})


def records_of(jobs: Iterable[Job]) -> list[dict]:
    """Records of all rows of jobs that are done or failed, by table, row and seed."""
    records = []
    for job in jobs:
        result, failure = job.result, job.failure
        for table, row in job.rows:
            place = dict(table=table, row=row, scale=job.settings.scale, seed=job.seed)
            if result is not None:
                records.append({**place, **{key: result[key] for key in KEYS[4:]}})
            elif failure is not None:
                records.append({**place, "failure": failure["reason"]})
    return records


def read_records(file: Path) -> list[dict]:
    """Records of a file, as ``report`` writes them.

    Raises:
        UserError: no such file, or not a list of records.
    """
    records = read_json(file, "`report` without --results writes it anew.", list)
    if records is None:
        raise UserError(f"there are no results in {file}.")
    for number, record in enumerate(records):
        named = f"{file}: record {number}"
        if not isinstance(record, dict):
            raise UserError(f"{named} is a {type(record).__name__}, no dictionary with {KEYS}.")
        for key in ("table", "row", "scale"):
            field(record, key, lambda value: isinstance(value, str), "a name", named)
        field(record, "seed", lambda value: type(value) is int, "a whole number", named)
        if "failure" in record:
            field(record, "failure", lambda value: isinstance(value, str), "a reason", named)
        else:
            for key in KEYS[4:]:
                is_good, wanted = FILES["result.json"][key]
                field(record, key, is_good, wanted, named)
    return records


class Summary:
    """One table's results at one scale.

    Args:
        table: which.
        scale: 'coco' or 'mini'.
        records: of any tables and scales.
    """

    def __init__(self, table: Table, scale: str, records: Sequence[dict]) -> None:
        self.table = table
        self.scale = scale
        self._records = [r for r in records if (r["table"], r["scale"]) == (table.name, scale)]

    @property
    def empty(self) -> bool:
        """Whether there is neither a result nor a failure."""
        return not self._records

    def ours(self, row: TableRow, column: str) -> Spread:
        """Our values of a row, by seed."""
        metric = self.table.columns[column]
        found = {
            r["seed"]: r["metrics"][metric]
            for r in self._records
            if r["row"] == row.name and metric in r.get("metrics", {})
        }
        return Spread(dict(sorted(found.items())))

    def difference(self, row: TableRow, column: str) -> Spread:
        """Ours minus the row that it is compared with, seed by seed; empty for a baseline."""
        other = self.table.against(row)
        if other is None:
            return Spread({})
        return self.ours(row, column).minus(self.ours(self.table.row(other), column))

    def seeds(self, row: TableRow) -> list[int]:
        """Seeds with a result."""
        return sorted(r["seed"] for r in self._records if r["row"] == row.name and "metrics" in r)

    def failures(self, row: TableRow) -> dict[int, str]:
        """Reasons of the seeds without one."""
        found = (r for r in self._records if r["row"] == row.name and "failure" in r)
        return {r["seed"]: r["failure"] for r in sorted(found, key=lambda r: r["seed"])}

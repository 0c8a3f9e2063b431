"""Doubts: what is suspicious in a log that was read without an error, and gives wrong numbers if it is wrong.

Each doubt names the field of the recipe, what was found, and what to look at. Counts add up, so that a log
that comes in chunks is doubted as one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from model.encoding.categories import canonical
from model.encoding.columns import Column, ListColumn, RawColumn
from model.encoding.numbers import as_numbers
from model.schema import LastSplit, NumericFeature, Schema
from model.schema.past import HistorySpec
from training.datasets.source import LogSource
from training.datasets.table_files import largest_exact
from training.preparation.joining import Join
from training.preparation.needed import made_of_the_past
from training.preparation.preparation import PreparedLog

LONGEST_ID = 256
"""Bytes of UTF-8 of an id, at most: requests with longer ones are refused."""
_FEW, _MOSTLY, _NEARLY_ALL = 0.01, 0.95, 0.99
_UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
_FIRST_YEAR_S, _LAST_YEAR_S = 946_684_800.0, 4_102_444_800.0  # 2000 and 2100


class Doubts:
    """Takes in a prepared log, whole or in chunks.

    Args:
        schema: what it was prepared for.
        source: the log as it was read; None where it is not at hand as a whole.
    """

    def __init__(self, schema: Schema, source: LogSource | None = None) -> None:
        self._schema = schema
        self._source = source
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, Any] = {}
        self._joins: dict[str, Join] = {}
        self._median: float | None = None

    def add(self, log: PreparedLog) -> None:
        """Take in rows."""
        self._counts["rows"] += len(log)
        self._counts["validation"] += int(log.validation.sum())
        for join in log.joins:
            before = self._joins.get(join.table.name)
            self._joins[join.table.name] = join if before is None else _sum(before, join)
        self._add_ids(log)
        self._add_numbers(log)
        self._add_past(log)
        time = self._schema.data.time
        if time is not None and log.frame[time].dtype.is_numeric() and self._median is None:
            median = log.frame[time].median()
            self._median = float(median) if isinstance(median, int | float) else None

    def found(self) -> list[str]:
        """All doubts about what was taken in, for people."""
        return [*self.of_the_past(), *self._of_ids(), *self._of_numbers(), *self._of_time(), *self._of_rows()]

    def of_the_past(self) -> list[str]:
        """Tables, priors and histories that say nothing of (nearly) all rows."""
        doubts = [text for join in self._joins.values() if (text := self._of_join(join)) is not None]
        rows = self._counts["rows"]
        for spec in self._schema.data.past:
            blind = self._counts[f"past {spec.name}"]
            if rows and blind >= _NEARLY_ALL * rows:
                kind = "histories" if isinstance(spec, HistorySpec) else "priors"
                doubts.append(
                    f"data.{kind}.{spec.name}: {blind:,} of {rows:,} rows have no earlier row by "
                    f"{', '.join(spec.by)} to see; are by, where and delay_s right, and is the past in the "
                    "data?"
                )
        return doubts

    def _add_ids(self, log: PreparedLog) -> None:
        data = self._schema.data
        for field, name in (("data.user", data.user), ("data.item", data.item)):
            if name is None:
                continue
            ids = log.frame[name]
            missing = ids.is_null()
            if ids.dtype == pl.String:
                missing |= ids == ""
            elif ids.dtype.is_float():
                missing |= ids.is_nan()
            self._counts[f"missing {field}"] += int(missing.sum())
            if ids.dtype.is_float():
                self._counts[f"inexact {field}"] += int(
                    (ids.fill_nan(None).abs() > largest_exact(ids.dtype)).sum()
                )
            if ids.dtype == pl.String:
                long = ids.filter(ids.str.len_bytes() > LONGEST_ID)
                self._counts[f"long {field}"] += len(long)
                if len(long):
                    self._examples.setdefault(field, long[0])

    def _add_numbers(self, log: PreparedLog) -> None:
        for spec in self._schema.features:
            column = log.columns[spec.name]
            if not isinstance(spec, NumericFeature) or not isinstance(column, Column):
                continue
            if isinstance(column.values, np.ndarray):
                continue
            strange = np.isnan(as_numbers(column.values)) & np.asarray(
                [isinstance(value, str) and bool(value.strip()) for value in column.values], bool
            )
            if rows := int(column.counts()[strange].sum()):
                field = f"features.{spec.name}"
                self._counts[f"text {field}"] += rows
                self._examples.setdefault(field, column.values[int(np.flatnonzero(strange)[0])])
        if self._schema.data.video_len is not None:
            lengths = log.frame[self._schema.data.video_len.column]
            if lengths.dtype == pl.String:
                strange = lengths.filter(
                    lengths.cast(pl.Float64, strict=False).is_null() & lengths.is_not_null()
                )
                self._counts["text data.video_len"] += len(strange)
                if len(strange):
                    self._examples.setdefault("data.video_len", strange[0])

    def _add_past(self, log: PreparedLog) -> None:
        for spec in self._schema.data.past:
            if not isinstance(spec, HistorySpec):
                self._counts[f"past {spec.name}"] += int(
                    (log.frame[f"{spec.name}_count"].fill_null(0) == 0).sum()
                )
                continue
            for feature in self._schema.features:
                lists = log.columns[feature.name]
                if feature.expr is None and feature.source == spec.name and isinstance(lists, ListColumn):
                    self._counts[f"past {spec.name}"] += int((lists.first == lists.stop).sum())
                    break

    def _of_join(self, join: Join) -> str | None:
        table, field = join.table, f"table {join.table.name!r}"
        if not join.rows:
            return None
        if join.matched <= _FEW * join.rows:
            found = f"{field}: {join.matched:,} of {join.rows:,} rows find a row of it"
            if not join.keyed:
                return (
                    f"{found}, so what it says is missing: {table.key} is {join.ours!r} in the log, say, and "
                    f"{join.theirs!r} in the table; are both spelled alike?"
                )
            if table.as_of is not None:
                return f"{found} that was known before them{_unit(join)}; is {table.as_of} right?"
            return f"{found} by {table.key}"
        declared = {declared.name for declared in self._schema.data.tables}
        if table.name not in declared or table.as_of is None:
            return None
        if join.before >= _NEARLY_ALL:
            return (
                f"{field}: {join.before:.0%} of its rows were known before the log's first row, by "
                f"{table.as_of}, so rows of the log see each key's last state{_unit(join)}"
            )
        if join.midnight:
            return (
                f"{field}: {table.as_of} is always the beginning of a day, so rows see what is dated with "
                "their own day; if it is what the day gave, make it a date, which counts from the day's end"
            )
        if join.after >= _NEARLY_ALL:
            return (
                f"{field}: {join.after:.0%} of its rows were not known before the log's last row{_unit(join)}"
            )
        return None

    def _of_ids(self) -> list[str]:
        doubts = []
        for field in ("data.user", "data.item"):
            if missing := self._counts[f"missing {field}"]:
                what = field.removeprefix("data.")
                doubts.append(
                    f"{field}: {missing:,} of {self._counts['rows']:,} rows have no {what}; they count as "
                    f"one {what}. Leave them out with data.keep if they are none"
                )
            if inexact := self._counts[f"inexact {field}"]:
                doubts.append(
                    f"{field}: {inexact:,} rows have ids as floating-point numbers so large that these no "
                    "longer tell all ids apart: neighbours are one. Write them as integers or text"
                )
            if long := self._counts[f"long {field}"]:
                doubts.append(
                    f"{field}: {long:,} rows have ids of more than {LONGEST_ID} bytes, such as "
                    f"{self._examples[field][:40]!r}...; requests cannot name them"
                )
        return doubts

    def _of_numbers(self) -> list[str]:
        fields = [f"features.{spec.name}" for spec in self._schema.features] + ["data.video_len"]
        return [
            f"{field}: {rows:,} rows hold text that is no number, such as {self._examples[field]!r}; "
            "they count as missing"
            for field in fields
            if (rows := self._counts[f"text {field}"])
        ]

    def _of_time(self) -> list[str]:
        data = self._schema.data
        doubts = []
        if data.time_unit is not None and self._median is not None:
            fitting = [
                unit for unit, per in _UNITS.items() if _FIRST_YEAR_S <= self._median / per <= _LAST_YEAR_S
            ]
            if fitting and data.time_unit not in fitting:
                doubts.append(
                    f"data.time_unit: {data.time} holds moments such as {self._median:.0f}, which is a "
                    f"time of today in {fitting[0]}, not in {data.time_unit}; delays, half-lives and ages go "
                    "by it"
                )
        rows, judged = self._counts["rows"], self._counts["validation"]
        if isinstance(data.split, LastSplit) and rows:
            share = judged / rows
            if share > 1.5 * data.split.last and share - data.split.last > 0.05:
                doubts.append(
                    f"data.split.last: {share:.0%} of the rows are in validation, not {data.split.last:.0%}: "
                    f"rows of one moment stay together, and many have one {data.time}; give a finer time, or "
                    "split.train and split.validation"
                )
        return doubts

    def _of_rows(self) -> list[str]:
        twice = duplicate_rows(self._source.log) if self._source is not None else 0
        if not twice:
            return []
        return [
            f"data.log: {twice:,} of {self._counts['rows']:,} rows are exact copies of another row; "
            "were files read or written twice?"
        ]


def known_past(schema: Schema, log: PreparedLog) -> dict[str, Any]:
    """What a bundle says of the past that its training rows saw, for those who judge it on other rows.

    Returns:
        Empty where nothing is made of the past; else the first moment of it, and by feature the share of the
        training rows that miss it.
    """
    if not schema.data.past:
        return {}
    return {
        "past_from": _moment(log.past_from),
        "missing": _missing_of_past(schema, log, np.flatnonzero(log.train)),
    }


def doubts_of_past(
    schema: Schema, log: PreparedLog, rows: npt.NDArray[np.int64], trained: Mapping[str, Any]
) -> list[str]:
    """Doubts about rows that a bundle is judged on: whether they see the past that its training rows saw.

    Args:
        schema: of the bundle.
        log: prepared by it.
        rows: the judged ones.
        trained: of `known_past`, as the bundle keeps it.
    """
    doubts = []
    first, begun = _moment(log.past_from), trained.get("past_from")
    if begun is not None and isinstance(first, type(begun)) and first > begun:
        doubts.append(
            f"priors and histories are made of this data alone, which begins at {first}; training saw a past "
            f"from {begun} on. Judge some rows of data that has their past, too"
        )
    for name, share in _missing_of_past(schema, log, rows).items():
        before = trained.get("missing", {}).get(name)
        if share >= _MOSTLY and (before is None or before < _MOSTLY):
            of_training = "" if before is None else f", and in {before:.0%} of the training rows"
            doubts.append(
                f"feature {name!r} is made of the past, and is missing in {share:.0%} of the judged "
                f"rows{of_training}: is their past in the data?"
            )
    return doubts


def _moment(value: Any) -> Any:
    """As JSON keeps it, in an order of its own."""
    return value if value is None or isinstance(value, int | float) else str(value)


def _missing_of_past(schema: Schema, log: PreparedLog, rows: npt.NDArray[np.int64]) -> dict[str, float]:
    """By feature that is made of the past, the share of these rows that miss it."""
    return {
        spec.name: _missing(log.columns[spec.name].take(rows))
        for spec in schema.features
        if made_of_the_past(schema, spec)
    }


def _missing(column: RawColumn) -> float:
    if not len(column):
        return 0.0
    if isinstance(column, ListColumn):
        return float((column.first == column.stop).mean())
    values = column.values
    absent = (
        np.isnan(values.astype(np.float64))
        if isinstance(values, np.ndarray)
        else np.asarray([canonical(value) is None for value in values])
    )
    return float(column.spread(absent).mean())


def cannot_be_judged(
    schema: Schema, labels: npt.NDArray[np.float32], masks: npt.NDArray[np.bool_]
) -> dict[str, str]:
    """By task, why some rows say nothing of it: none has a label, or all have one label.

    Args:
        schema: whose tasks.
        labels: [rows, T].
        masks: the rows that count, [rows, T].
    """
    found = {}
    for place, task in enumerate(schema.tasks):
        known = labels[masks[:, place], place]
        if not known.size:
            found[task.name] = "no row has a label"
        elif task.type == "binary" and known.min() == known.max():
            found[task.name] = f"every label is {known[0]:g}"
    return found


def duplicate_rows(log: pl.DataFrame) -> int:
    """Rows that are the same in all columns as an earlier one; 0 where a column holds lists."""
    if any(kind.is_nested() for kind in log.dtypes):
        return 0
    return log.height - log.hash_rows().n_unique()


def _sum(one: Join, other: Join) -> Join:
    return replace(
        one,
        rows=one.rows + other.rows,
        matched=one.matched + other.matched,
        keyed=one.keyed or other.keyed,
        before=0.0,  # of a chunk, its first row is not the log's
        after=0.0,
    )


def _unit(join: Join) -> str:
    if not join.unit:
        return ""
    return f" (it differs from the log's times by a factor of about 10^{join.unit}: are both in one unit?)"

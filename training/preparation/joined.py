"""The joined log: its rows in the order of time with what tables and its own past say of each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from model.encoding.columns import ListColumn
from model.errors import FulcrumError
from model.schema import DataSpec, Schema
from model.schema.past import HistorySpec, PriorSpec
from training.datasets.moments import check_moments, missing_moments
from training.datasets.source import LogSource
from training.preparation.expressions import floats, require
from training.preparation.joining import Join, join_table
from training.preparation.needed import needed_columns, optional
from training.preparation.past import Clock, history, prior_columns

Array = npt.NDArray[np.float64]

ONLY_PAST = "\x00only past"
"""The column that marks rows which are no impressions, only the past of others."""


def joined(schema: Schema, source: LogSource) -> tuple[pl.DataFrame, tuple[Join, ...]]:
    """The log's rows in the order of time with what its tables say of them, and what came of each table.

    Where something is made of the past, the rows that are only past are among them, and marked.
    """
    data = schema.data
    if source.log.is_empty():
        raise FulcrumError("the log has no rows; is this the right folder?")
    frame = kept(data, source.log)
    if frame.is_empty():
        raise FulcrumError(f"data.keep: {data.keep!r} keeps none of {source.log.height} rows")
    if data.past and source.past is not None:
        marked = (
            rows.with_columns(pl.lit(only).alias(ONLY_PAST))
            for rows, only in ((source.past, True), (frame, False))
        )
        frame = pl.concat(marked, how="diagonal_relaxed")
    if data.time is not None:
        require(frame, [data.time], "data.time")
        refuse_timeless(frame[data.time])
        frame = frame.sort(data.time, maintain_order=True)
    needed = needed_columns(schema) | {table.key for table in source.tables}
    joins = []
    for table in source.tables:
        frame, join = join_table(frame, table, needed, data.time)
        joins.append(join)
    require(frame, [data.user, *optional(data.item, data.group)], "data")
    return frame, tuple(joins)


def refuse_timeless(times: pl.Series) -> None:
    """Refuse a log whose times are none, or are missing in some rows."""
    check_moments(times, "data.time")
    if timeless := int(missing_moments(times).sum()):
        raise FulcrumError(f"data.time: {timeless} rows have no {times.name}; leave them out with data.keep")


def with_past(
    data: DataSpec, frame: pl.DataFrame, *kinds: type
) -> tuple[pl.DataFrame, dict[str, ListColumn]]:
    """The log with its priors as columns, and its histories: each row's own, as of its time."""
    if not data.past:
        return frame, {}
    clock = Clock.of(data, frame)
    histories: dict[str, ListColumn] = {}
    for spec in data.past:
        if not kinds or isinstance(spec, kinds):
            frame, more = ask([spec], frame, clock, frame, clock.ticks)
            histories |= more
    return frame, histories


def ask(
    past: Sequence[PriorSpec | HistorySpec],
    log: pl.DataFrame,
    clock: Clock,
    rows: pl.DataFrame,
    times: npt.NDArray[np.int64] | Array,
) -> tuple[pl.DataFrame, dict[str, ListColumn]]:
    """Rows with what the log's past gives them at their times."""
    histories: dict[str, ListColumn] = {}
    for spec in past:
        for name in spec.columns:
            if name in rows.columns:
                raise FulcrumError(
                    f"data: {spec.name!r} makes the column {name!r}, which the data has already; rename it"
                )
    asking, times = rows, clock.seen_at(times)
    for spec in past:
        if isinstance(spec, PriorSpec):
            rows = rows.hstack(prior_columns(spec, log, clock, asking, times))
        else:
            histories[spec.name] = history(spec, log, clock, asking, times)
    return rows, histories


def kept(data: DataSpec, log: pl.DataFrame) -> pl.DataFrame:
    """The rows that `data.keep` keeps."""
    if data.keep is None:
        return log
    return log.filter(floats(log, data.keep, "data.keep") == 1.0)

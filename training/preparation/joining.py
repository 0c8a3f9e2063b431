"""Joining: a table's columns to the rows of a log, by a key and as of each row's time.

Keys compare as ids do: 3, 3.0 and "3" are one. Knows neither features nor tasks.
"""

from __future__ import annotations

import polars as pl

from model.errors import FulcrumError
from training.datasets.source import SourceTable
from training.preparation.columns import comparable_keys
from training.preparation.expressions import require

_KEY = "\x00key"


def join_table(frame: pl.DataFrame, table: SourceTable, needed: set[str], time: str | None) -> pl.DataFrame:
    """Add a table's needed columns to a log, as of each row's time where the table is dated.

    Raises:
        FulcrumError: a column is absent, keys or times cannot be compared, or an undated key stands twice.
    """
    if table.key not in frame.columns:
        raise FulcrumError(
            f"table {table.name!r}: its key {table.key!r} is neither in the log nor in an earlier table"
        )
    return merge_table(frame, table, needed, time)


def merge_table(frame: pl.DataFrame, table: SourceTable, needed: set[str], time: str | None) -> pl.DataFrame:
    """Add the table's needed columns; the log's own value holds where both have one."""
    dated = [] if table.as_of is None else [table.as_of]
    require(table.frame, dated, f"table {table.name!r}")
    ours, key = table_keys(frame[table.key], table)
    frame = frame.with_columns(ours.alias(_KEY))
    wanted = [name for name in table.frame.columns if name in needed and name != table.key]
    right = table.frame.select(
        key.alias(_KEY),
        *(pl.col(name) for name in wanted if name != table.as_of),
        *dated,
    ).drop_nulls(_KEY)
    suffix = "\x00from table"
    if table.as_of is not None and time is not None:
        known = _cast(right[table.as_of], frame[time].dtype, f"table {table.name!r}")
        right = right.drop(table.as_of).with_columns(known.alias("\x00as of"))
        right = right.drop_nulls("\x00as of").sort("\x00as of", maintain_order=True)
        joined = frame.join_asof(
            right,
            left_on=time,
            right_on="\x00as of",
            by=_KEY,
            strategy="backward",
            allow_exact_matches=False,
            suffix=suffix,
            check_sortedness=False,
        ).drop("\x00as of", strict=False)
    else:
        twice = right[_KEY].is_duplicated()
        if twice.any():
            first = right.filter(twice)[_KEY][0]
            raise FulcrumError(
                f"table {table.name!r}: {table.key} {first!r} stands in several rows; "
                "keep one row a key, or name the column that dates them in as_of"
            )
        joined = frame.join(right, on=_KEY, how="left", suffix=suffix, maintain_order="left")
    both = [name for name in wanted if name + suffix in joined.columns]
    return joined.with_columns(pl.coalesce(name, name + suffix).alias(name) for name in both).drop(
        [_KEY, *(name + suffix for name in both)]
    )


def table_keys(ours: pl.Series, table: SourceTable) -> tuple[pl.Series, pl.Series]:
    """The key in the log and in the table, in one type: as ids compare, 3, 3.0 and "3" are one."""
    require(table.frame, [table.key], f"table {table.name!r}")
    theirs = table.frame[table.key]
    if ours.dtype == theirs.dtype or (ours.dtype.is_integer() and theirs.dtype.is_integer()):
        return ours, _cast(theirs, ours.dtype, f"table {table.name!r}")
    as_text = comparable_keys(ours), comparable_keys(theirs)
    for one, other in ((ours, as_text[1]), (theirs, as_text[0])):
        known = other.drop_nulls()
        if one.dtype.is_numeric() and len(known) and known.cast(pl.Float64, strict=False).is_null().all():
            raise _not_comparable(theirs, ours.dtype, f"table {table.name!r}")
    return as_text


def _cast(series: pl.Series, kind: pl.DataType, field: str) -> pl.Series:
    """A table's column in the type of the log's, to compare them."""
    try:
        if series.dtype.is_temporal() == kind.is_temporal():
            return series.cast(kind)
    except pl.exceptions.PolarsError:
        pass
    raise _not_comparable(series, kind, field)


def _not_comparable(series: pl.Series, kind: pl.DataType, field: str) -> FulcrumError:
    return FulcrumError(
        f"{field}: column {series.name!r} holds {series.dtype}, which cannot be compared with {kind} "
        "in the log; give both the same type"
    )

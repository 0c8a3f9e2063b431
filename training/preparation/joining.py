"""Joining: a table's columns to the rows of a log, by a key and as of each row's time.

Keys compare as ids do: 3, 3.0 and "3" are one. Knows neither features nor tasks.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from model.errors import FulcrumError
from training.datasets.moments import check_moments, missing_moments, power_of_units
from training.datasets.source import SourceTable
from training.datasets.table_files import largest_exact
from training.preparation.columns import comparable_keys
from training.preparation.expressions import require

_KEY = "\x00key"
_AS_OF = "\x00as of"
_FOUND = "\x00found"


@dataclass(frozen=True)
class Join:
    """What came of joining a table to a log.

    Attributes:
        table: that was joined.
        rows: of the log.
        matched: rows that found a row of the table.
        ours, theirs: a key of the log and one of the table, None where there is none.
        keyed: whether any row of the log has a key that the table has, known before the row or not.
        before, after: shares of the table's rows that were known before the log's first row, and from its
            last row on; 0 where the table is not dated.
        midnight: whether all moments of the table are beginnings of days, and those of the log are not.
        unit: the table's moments over the log's, as the power of ten that is near; 0 where they are alike.
    """

    table: SourceTable
    rows: int
    matched: int
    ours: object
    theirs: object
    keyed: bool
    before: float = 0.0
    after: float = 0.0
    unit: int = 0
    midnight: bool = False


def join_table(
    frame: pl.DataFrame, table: SourceTable, needed: set[str], time: str | None
) -> tuple[pl.DataFrame, Join]:
    """Add a table's needed columns to a log, as of each row's time where the table is dated.

    Raises:
        FulcrumError: a column is absent, keys or times cannot be compared, or an undated key stands twice.
    """
    if table.key not in frame.columns:
        raise FulcrumError(
            f"table {table.name!r}: its key {table.key!r} is neither in the log nor in an earlier table"
        )
    return merge_table(frame, table, needed, time)


def merge_table(
    frame: pl.DataFrame, table: SourceTable, needed: set[str], time: str | None
) -> tuple[pl.DataFrame, Join]:
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
        pl.lit(True).alias(_FOUND),
    ).drop_nulls(_KEY)
    suffix = "\x00from table"
    spans = (0.0, 0.0, 0)
    midnight = False
    if table.as_of is not None and time is not None:
        known = known_from(right[table.as_of], frame[time], f"table {table.name!r}").alias(_AS_OF)
        right = right.drop(table.as_of).with_columns(known)
        right = right.filter(~missing_moments(known)).sort(_AS_OF, maintain_order=True)
        spans = _spans(right[_AS_OF], frame[time])
        midnight = table.frame.schema[table.as_of] != pl.Date and _at_midnight(right[_AS_OF], frame[time])
        joined = frame.join_asof(
            right,
            left_on=time,
            right_on=_AS_OF,
            by=_KEY,
            strategy="backward",
            allow_exact_matches=False,
            suffix=suffix,
            check_sortedness=False,
        ).drop(_AS_OF, strict=False)
    else:
        twice = right[_KEY].is_duplicated()
        if twice.any():
            first = right.filter(twice)[_KEY][0]
            raise FulcrumError(
                f"table {table.name!r}: {table.key} {first!r} stands in several rows; "
                "keep one row a key, or name the column that dates them in as_of"
            )
        joined = frame.join(right, on=_KEY, how="left", suffix=suffix, maintain_order="left")
    matched = frame.height - joined[_FOUND].null_count()
    keyed = bool(matched) or bool(ours.is_in(right[_KEY].unique().implode()).any())
    join = Join(table, frame.height, matched, _first(ours), _first(right[_KEY]), keyed, *spans, midnight)
    both = [name for name in wanted if name + suffix in joined.columns]
    joined = joined.with_columns(pl.coalesce(name, name + suffix).alias(name) for name in both)
    return joined.drop([_KEY, _FOUND, *(name + suffix for name in both)]), join


def table_keys(ours: pl.Series, table: SourceTable) -> tuple[pl.Series, pl.Series]:
    """The key in the log and in the table, in one type: as ids compare, 3, 3.0 and "3" are one."""
    field = f"table {table.name!r}"
    require(table.frame, [table.key], field)
    theirs = table.frame[table.key]
    if ours.dtype == theirs.dtype:
        return ours, theirs
    if ours.dtype.is_integer() and theirs.dtype.is_integer():
        return ours.cast(pl.Int128), theirs.cast(pl.Int128)
    for one, other in ((ours, theirs), (theirs, ours)):
        if one.dtype.is_float() and (one.fill_nan(None).abs() > largest_exact(one.dtype)).any():
            raise FulcrumError(
                f"{field}: {table.key!r} holds {ours.dtype} in the log and {theirs.dtype} in the table, and "
                "floating-point numbers so large do not tell ids apart; write them as integers or text"
            )
        if one.dtype.is_numeric() and _no_numbers(other):
            raise _not_comparable(theirs, ours, field)
    return comparable_keys(ours), comparable_keys(theirs)


def known_from(known: pl.Series, times: pl.Series, field: str) -> pl.Series:
    """From when a table's rows were known, in the type of the log's time; a date counts from its day's end.

    Raises:
        FulcrumError: the two cannot be compared.
    """
    check_moments(known, f"{field}: as_of")
    kind, of_log = known.dtype, times.dtype
    if isinstance(of_log, pl.Datetime):
        if kind == pl.Date:
            next_day = known.dt.offset_by("1d").cast(pl.Datetime(of_log.time_unit))
            return next_day if of_log.time_zone is None else _in_zone(next_day, of_log.time_zone)
        if isinstance(kind, pl.Datetime):
            if (kind.time_zone is None) != (of_log.time_zone is None):
                raise FulcrumError(
                    f"{field}: {known.name!r} holds {kind} and the log's {times.name!r} holds {of_log}: one "
                    "has a time zone, the other has none; give both one, or neither"
                )
            return known.cast(of_log)
    elif of_log == pl.Date and isinstance(kind, pl.Datetime):
        if kind.time_zone is not None:  # whose days they are is not said
            raise _not_comparable(known, times, field)
        return known.dt.date()
    if kind.is_temporal() == of_log.is_temporal():
        return known.cast(of_log, strict=False)
    raise _not_comparable(known, times, field)


def _in_zone(midnights: pl.Series, zone: str) -> pl.Series:
    """Beginnings of days in a zone; an hour later where its clocks skip midnight."""
    begins = midnights.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    later = midnights.dt.offset_by("1h").dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    return begins.fill_null(later)


def _spans(known: pl.Series, times: pl.Series) -> tuple[float, float, int]:
    """`before`, `after` and `unit` of a join; the log is sorted by time."""
    present = times.drop_nulls()
    if known.is_empty() or present.is_empty():
        return 0.0, 0.0, 0
    before = float((known < present[0]).mean() or 0.0)
    after = float((known >= present[-1]).mean() or 0.0)
    return before, after, power_of_units(known, times)


def _at_midnight(known: pl.Series, times: pl.Series) -> bool:
    if not isinstance(times.dtype, pl.Datetime) or known.is_empty():
        return False
    return bool((known.dt.truncate("1d") == known).all() and not (times.dt.truncate("1d") == times).all())


def _first(series: pl.Series) -> object:
    known = series.head(1_000).drop_nulls()
    return known[0] if len(known) else None


def _no_numbers(series: pl.Series) -> bool:
    known = comparable_keys(series).drop_nulls()
    return bool(len(known)) and known.cast(pl.Float64, strict=False).is_null().all()


def _not_comparable(series: pl.Series, other: pl.Series, field: str) -> FulcrumError:
    return FulcrumError(
        f"{field}: column {series.name!r} holds {series.dtype}, which cannot be compared with {other.dtype} "
        f"in the log's {other.name!r}; give both the same type"
    )

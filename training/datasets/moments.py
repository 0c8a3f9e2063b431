"""Moments: columns that say when something happened or was known, and what cannot say so."""

from __future__ import annotations

import math

import polars as pl

from model.errors import FulcrumError

_NEAR = 0.3  # of a power of ten: a factor of 2


def check_moments(series: pl.Series, field: str, file: str | None = None) -> None:
    """Refuse a column whose values have no order in time, such as text, which sorts by its letters.

    Args:
        series: the column.
        field: where the recipe names it.
        file: that the column comes from, where it comes from one.

    Raises:
        FulcrumError: it holds neither numbers, dates nor timestamps; names a value and its row.
    """
    kind = series.dtype
    if kind.is_numeric() or isinstance(kind, pl.Date | pl.Datetime) or kind == pl.Null:
        return
    at = f"{field}: column {series.name!r}" + (f" of {file}" if file else "")
    if series.null_count() == len(series):
        raise FulcrumError(f"{at} has no value")
    row, value = _strange(series)
    raise FulcrumError(
        f"{at} holds {'text' if kind == pl.String else kind}, which has no order in time: row {row + 1} "
        f"has {value!r}; expected in all rows numbers, dates (2026-01-31) or timestamps "
        "(2026-01-31 23:00:00, or with a zone: 2026-01-31T23:00:00Z)"
    )


def missing_moments(series: pl.Series) -> pl.Series:
    """Rows without a time, bool: NaN and infinity are none."""
    return ~series.is_finite().fill_null(value=False) if series.dtype.is_float() else series.is_null()


def power_of_units(times: pl.Series, others: pl.Series) -> int:
    """By what power of ten, a multiple of three, moments differ from others; 0 where they are alike."""
    median, of_others = (
        series.cast(pl.Float64).median() if series.dtype.is_numeric() else None for series in (times, others)
    )
    if not isinstance(median, float) or not isinstance(of_others, float) or min(median, of_others) <= 0.0:
        return 0
    power = math.log10(median / of_others)
    near = round(power / 3) * 3
    return near if abs(power - near) < _NEAR else 0


def _strange(series: pl.Series) -> tuple[int, object]:
    """The first value that spoils the column, and its place: the one that is no number, where others are."""
    present = series.is_not_null()
    spoils = present
    if series.dtype == pl.String:
        numbers = series.cast(pl.Float64, strict=False).is_not_null()
        begins = series.str.contains(r"^[0-9]{4}[-/]").fill_null(value=False)
        for good in (numbers, begins):
            if good.any() and (present & ~good).any():
                spoils = present & ~good
                break
    row = spoils.arg_true()[0]
    return int(row), series[int(row)]

"""Moments: columns that say when something happened or was known, and what cannot say so."""

from __future__ import annotations

import polars as pl

from model.errors import FulcrumError


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
    """Rows without a time, bool: NaN is none."""
    return (series.is_null() | series.is_nan()) if series.dtype.is_float() else series.is_null()


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

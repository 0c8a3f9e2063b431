"""Polars SQL over a frame: the recipe's expressions, with errors that name the field they stand in.

Knows nothing of what a value is for. The one place where expressions are evaluated.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import polars as pl

from model.errors import FulcrumError

_ROWS_ALONE = 10_000


def column_names(text: str) -> set[str]:
    """The columns that an expression reads."""
    try:
        return set(pl.sql_expr(text).meta.root_names())
    except pl.exceptions.PolarsError:
        # Some names are SQL's own words, as `user`. What else is wrong is reported where it is evaluated.
        return {text} if text.isidentifier() else set()


def evaluated(text: str, frame: pl.DataFrame, field: str) -> pl.Series:
    """The expression's value in each row; a constant stands in all of them. A column's name is that column.

    Raises:
        FulcrumError: it is no expression, reads a column that is not there, or fails; names `field`.
    """
    if text in frame.columns:
        return frame[text]
    expression = _expression(text, frame, field)
    try:
        series = frame.select(value=expression)["value"]
    except pl.exceptions.PolarsError as error:
        raise FulcrumError(f"{field}: {text!r} fails on this data ({str(error).splitlines()[0]})") from error
    return series.new_from_index(0, frame.height) if len(series) == 1 != frame.height else series


def of_the_row_alone(text: str, frame: pl.DataFrame, field: str) -> pl.Series:
    """The value in each row of an expression that must not know other rows: those may lie in its future.

    Raises:
        FulcrumError: as for `evaluated`, or a row's value depends on other rows.
    """
    values = evaluated(text, frame, field)
    some = frame.head(min(_ROWS_ALONE, (frame.height + 1) // 2))
    if not evaluated(text, some, field).equals(values.head(some.height), null_equal=True):
        raise FulcrumError(
            f"{field}: {text!r} gives a row another value when other rows are left out; it must be made of "
            "its own row (aggregates belong into data.priors, or a table with as_of)"
        )
    return values


def floats(frame: pl.DataFrame, text: str, field: str, *, alone: bool = False) -> npt.NDArray[np.float64]:
    """The expression as numbers, NaN where it has no value: [rows].

    Args:
        frame: its rows.
        text: the expression.
        field: where it stands.
        alone: refuse an expression that knows other rows than its own.

    Raises:
        FulcrumError: as for `evaluated` or `of_the_row_alone`, or the values are neither numbers nor truth
            values.
    """
    series = of_the_row_alone(text, frame, field) if alone else evaluated(text, frame, field)
    try:
        return series.cast(pl.Float64).fill_null(np.nan).to_numpy()
    except pl.exceptions.PolarsError as error:
        raise FulcrumError(
            f"{field}: {text!r} gives {series.dtype}, expected numbers or truth values"
        ) from error


def require(frame: pl.DataFrame, names: Iterable[str], field: str) -> None:
    """Refuse a frame that lacks a column."""
    for name in names:
        if name not in frame.columns:
            there = ", ".join(frame.columns[:30]) + (", ..." if frame.width > 30 else "")
            raise FulcrumError(f"{field}: column {name!r} is not in the data; there is {there}")


def _expression(text: str, frame: pl.DataFrame, field: str) -> pl.Expr:
    try:
        expression = pl.sql_expr(text)
    except pl.exceptions.PolarsError as error:
        raise FulcrumError(f"{field}: {text!r} is no Polars SQL expression ({error})") from error
    if not isinstance(expression, pl.Expr):
        raise FulcrumError(f"{field}: expected one expression, found several")
    require(frame, sorted(column_names(text)), field)
    try:
        frame.head(0).select(expression)
    except pl.exceptions.PolarsError as error:
        raise FulcrumError(f"{field}: {text!r} cannot be evaluated ({str(error).splitlines()[0]})") from error
    return expression

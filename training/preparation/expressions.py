"""Polars SQL over a frame: the recipe's expressions, with errors that name the field they stand in.

Knows nothing of what a value is for. The one place where expressions are evaluated. Integers are widened to
64 bits wherever they arise, and unsigned ones of 64 bits to 128: `a - b >= 0` must not wrap around, nor must
`extract(hour from t) * 60`, whose hour has 8 bits. Decimals with places are taken as float64.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl

from model.errors import FulcrumError

_ROWS_ALONE = 10_000
_VALUES = {"Column", "Function", "BinaryExpr", "Cast", "Ternary", "Agg"}
"""Nodes of a serialized expression that have a value."""
_COMPARISONS = {"Gt", "GtEq", "Lt", "LtEq", "Eq", "NotEq", "EqValidity", "NotEqValidity"}


class TextForNumbersError(FulcrumError):
    """An expression calculates with a column that holds text.

    Attributes:
        column: its name.
        value: the first one that is no number.
    """

    def __init__(self, message: str, column: str, value: str) -> None:
        super().__init__(message)
        self.column, self.value = column, value


def column_names(text: str) -> set[str]:
    """The columns that an expression may read: those that it names, or the one whose whole name it is."""
    return _named(text) | {text}


def _named(text: str) -> set[str]:
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
        _refuse_text(text, frame, field)
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
        if not series.dtype.is_temporal():
            return series.cast(pl.Float64).fill_null(np.nan).to_numpy()
    except pl.exceptions.PolarsError:
        if text in frame.columns:
            _refuse_text(text, frame, field)
    hint = "; make a number of it, as in extract(epoch from ...)" if series.dtype.is_temporal() else ""
    raise FulcrumError(f"{field}: {text!r} gives {series.dtype}, expected numbers or truth values{hint}")


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
    require(frame, sorted(_named(text)), field)
    try:
        frame.head(0).select(expression)
    except pl.exceptions.PolarsError as error:
        _refuse_text(text, frame, field)
        raise FulcrumError(f"{field}: {text!r} cannot be evaluated ({str(error).splitlines()[0]})") from error
    try:
        tree = _widened(orjson.loads(expression.meta.serialize(format="json")), frame.head(0))
    except TypeError as error:
        raise FulcrumError(f"{field}: {text!r} {error}") from error
    return _deserialized(tree)


def _widened(tree: Any, empty: pl.DataFrame) -> Any:
    """A serialized expression in which no integer is narrow."""
    if isinstance(tree, list):
        return [_widened(node, empty) for node in tree]
    if not isinstance(tree, dict):
        return tree
    tree = {name: _widened(node, empty) for name, node in tree.items()}
    if len(tree) != 1 or not tree.keys() <= _VALUES:
        return tree
    if "BinaryExpr" in tree:
        _refuse_moments_beside_numbers(tree["BinaryExpr"], empty)
    try:
        kind = empty.select(value=_deserialized(tree)).schema["value"]
    except pl.exceptions.PolarsError:  # a part of a function that is no expression of its own
        return tree
    wide = None
    if isinstance(kind, pl.Decimal):
        wide = "Float64" if kind.scale else "Int128"
    elif kind.is_integer() and kind not in (pl.Int64, pl.Int128):
        wide = "Int128" if kind in (pl.UInt64, pl.UInt128) else "Int64"
    if wide is None:
        return tree
    return {"Cast": {"expr": tree, "dtype": {"Literal": wide}, "options": "Strict"}}


def _refuse_moments_beside_numbers(operation: Any, empty: pl.DataFrame) -> None:
    """Durations and times would be compared by the ticks that they are kept in."""
    try:
        kinds = [
            empty.select(value=_deserialized(operation[side])).schema["value"] for side in ("left", "right")
        ]
    except pl.exceptions.PolarsError:
        return
    for one, other in (kinds, kinds[::-1]):
        if one.is_temporal() and other.is_numeric() and operation["op"] in _COMPARISONS:
            raise TypeError(f"compares {one} with a number; compare with a moment, or make numbers of both")


def _deserialized(tree: Any) -> pl.Expr:
    return pl.Expr.deserialize(io.BytesIO(orjson.dumps(tree)), format="json")


def _refuse_text(text: str, frame: pl.DataFrame, field: str) -> None:
    """Name the column of text that an expression, which failed, may have taken for numbers."""
    for name in sorted(_named(text) & set(frame.columns) | ({text} & set(frame.columns))):
        if frame.schema[name] != pl.String:
            continue
        known = frame[name].drop_nulls()
        strange = known.filter(known.cast(pl.Float64, strict=False).is_null())
        commas = len(known) > 0 and known.str.contains(r"^-?[0-9]+,[0-9]+$").any()
        if len(strange) == len(known) and text != name and not commas:
            continue  # plain text, which is not what is wrong
        if len(strange):
            raise TextForNumbersError(
                f"{field}: {text!r} takes column {name!r} for numbers, and it holds text: "
                f"{strange[0]!r} is no number" + ("; write a decimal point" if commas else ""),
                name,
                strange[0],
            )
        raise FulcrumError(
            f"{field}: {text!r} takes column {name!r} for numbers, and as ids or categories it is text as "
            f"written; make numbers of it: CAST({name} AS DOUBLE)"
        )

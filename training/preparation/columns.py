"""Polars series to the encoder's columns. The one place where Polars meets the encoder."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from model.encoding.categories import canonical
from model.encoding.columns import Column, ListColumn, RawColumn
from model.errors import FulcrumError
from model.schema import FeatureSpec, MultiFeature, NumericFeature, SequenceFeature


def coded(series: pl.Series, field: str) -> Column:
    """A column of categories, dictionary-coded, so that each value is looked at once.

    Raises:
        FulcrumError: the values are neither numbers nor text nor truth values; names `field`.
    """
    series = _plain(series, field)
    if isinstance(series.dtype, pl.Decimal):
        series = comparable_keys(series)
    values = series.to_frame("value").unique(maintain_order=True).with_row_index("code")
    codes = series.to_frame("value").join(
        values, on="value", how="left", nulls_equal=True, maintain_order="left"
    )["code"]
    return Column(values["value"].to_list(), codes.cast(pl.Int64).to_numpy())


def to_column(spec: FeatureSpec, series: pl.Series) -> RawColumn:
    """The raw column of a feature.

    Raises:
        FulcrumError: the column's type cannot hold such a feature.
    """
    field = f"feature {spec.name!r}"
    if isinstance(spec, MultiFeature | SequenceFeature):
        return _lists(series, field)
    if isinstance(spec, NumericFeature):
        numbers = _plain(series, field)
        if numbers.dtype != pl.String:
            return Column(numbers.cast(pl.Float64).fill_null(np.nan).to_numpy())
    return coded(series, field)


def to_series(column: RawColumn, rows: npt.NDArray[np.int64]) -> pl.Series:
    """The raw values of these rows, lists as lists; null where a value is missing."""
    if isinstance(column, Column):
        taken = column.take(rows)
        values = pl.Series(taken.values, nan_to_null=isinstance(taken.values, np.ndarray))
        return values if taken.codes is None else values.gather(taken.codes)
    first, lengths = column.first[rows], column.stop[rows] - column.first[rows]
    ends = np.cumsum(lengths)
    places = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths - first, lengths)
    owners = pl.DataFrame({"row": np.repeat(np.arange(len(rows)), lengths)})
    listed = owners.with_columns(value=to_series(column.elements, places)).group_by("row").agg("value")
    every = pl.DataFrame({"row": np.arange(len(rows))}).join(
        listed, on="row", how="left", maintain_order="left"
    )
    return every["value"].fill_null(pl.lit([], every["value"].dtype))


def _lists(series: pl.Series, field: str) -> RawColumn:
    """Lists as windows onto their elements; text, which the encoder parts, as it stands."""
    if isinstance(series.dtype, pl.Array):
        series = series.arr.to_list()
    if not isinstance(series.dtype, pl.List):
        return coded(series, field)
    lengths = series.list.len().fill_null(0).cast(pl.Int64)
    stop = lengths.cum_sum().to_numpy()
    elements = series.filter(lengths > 0).explode()
    return ListColumn(coded(elements, field), stop - lengths.to_numpy(), stop)


def _plain(series: pl.Series, field: str) -> pl.Series:
    kind = series.dtype
    if isinstance(kind, pl.Categorical | pl.Enum):
        return series.cast(pl.String)
    if not (kind.is_numeric() or kind in (pl.Boolean, pl.String, pl.Null)):
        raise FulcrumError(
            f"{field}: expected a column of numbers, text or truth values, found {kind}; "
            "derive one with `expr`"
        )
    return series


def key_strings(series: pl.Series) -> list[str | None]:
    """Canonical strings of an id column, as requests name users and items.

    Raises:
        FulcrumError: ids are neither text nor numbers.
    """
    return comparable_keys(series).to_list()


def comparable_keys(series: pl.Series) -> pl.Series:
    """`key_strings` as a column: by them, keys of different types compare.

    Raises:
        FulcrumError: as for `key_strings`.
    """
    values = series.unique(maintain_order=True)
    try:
        strings = [canonical(value) for value in values.to_list()]
    except TypeError as error:
        raise FulcrumError(f"column {series.name!r}: ids are text or whole numbers ({error})") from error
    named = pl.DataFrame({"value": values, "key": pl.Series(strings, dtype=pl.String)})
    of_rows = pl.DataFrame({"value": series}).join(
        named, on="value", how="left", nulls_equal=True, maintain_order="left"
    )
    return of_rows["key"].alias(series.name)

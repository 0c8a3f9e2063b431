"""Polars series to the encoder's columns. The one place where Polars meets the encoder."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from model.encoding import Column, canonical
from model.errors import FulcrumError
from model.schema import CategoricalFeature, NumericFeature

__all__ = ["comparable_keys", "feature_columns", "key_strings", "to_column"]


def to_column(spec: CategoricalFeature | NumericFeature, series: pl.Series) -> Column:
    """The raw column of a feature; categories are dictionary-coded, so that each value is looked at once.

    Raises:
        FulcrumError: the column's type cannot hold such a feature.
    """
    kind = series.dtype
    if isinstance(kind, pl.Categorical | pl.Enum):
        series = series.cast(pl.String)
    elif isinstance(kind, pl.Decimal):
        series = series.cast(pl.Float64)
    elif not (kind.is_numeric() or kind in (pl.Boolean, pl.String, pl.Null)):
        raise FulcrumError(
            f"feature {spec.name!r}: expected a column of numbers, text or truth values, found {kind}; "
            "derive one with `expr`"
        )
    if isinstance(spec, NumericFeature) and series.dtype != pl.String:
        return Column(series.cast(pl.Float64).fill_null(np.nan).to_numpy())
    values = series.to_frame("value").unique(maintain_order=True).with_row_index("code")
    codes = series.to_frame("value").join(
        values, on="value", how="left", nulls_equal=True, maintain_order="left"
    )["code"]
    return Column(values["value"].to_list(), codes.cast(pl.Int64).to_numpy())


def feature_columns(
    features: Mapping[str, CategoricalFeature | NumericFeature], frame: pl.DataFrame
) -> dict[str, Column]:
    """Columns of the features that `frame` holds, by feature name."""
    return {name: to_column(spec, frame[name]) for name, spec in features.items() if name in frame.columns}


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

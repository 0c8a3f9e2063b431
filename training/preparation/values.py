"""Raw values of features and video lengths, of a frame that holds the columns they read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from model.encoding.columns import ListColumn, RawColumn
from model.errors import FulcrumError
from model.schema import DataSpec, FeatureSpec, ListFeature
from training.preparation.columns import to_column
from training.preparation.expressions import column_names, of_the_row_alone, require
from training.preparation.joined import Array


def feature_columns(
    specs: Sequence[FeatureSpec], frame: pl.DataFrame, histories: Mapping[str, ListColumn]
) -> dict[str, RawColumn]:
    """Raw values by feature name, [rows]; those of histories as they are.

    Raises:
        FulcrumError: a column is absent, or a feature cannot be made of what it names.
    """
    columns: dict[str, RawColumn] = {}
    for spec in specs:
        field = f"features.{spec.name}"
        if spec.expr is not None:
            if read := sorted(column_names(spec.expr) & set(histories)):
                raise FulcrumError(f"{field}.expr: {read[0]!r} is a history; a feature reads it by column")
            columns[spec.name] = to_column(spec, of_the_row_alone(spec.expr, frame, f"{field}.expr"))
        elif spec.source in histories:
            if not isinstance(spec, ListFeature):
                raise FulcrumError(
                    f"{field}: {spec.source!r} is a history; make the feature of kind sequence or multi"
                )
            columns[spec.name] = histories[spec.source]
        else:
            require(frame, [spec.source], field)
            columns[spec.name] = to_column(spec, frame[spec.source])
    return columns


def video_seconds(data: DataSpec, frame: pl.DataFrame) -> Array:
    """Seconds of each row's video, float64 [rows], NaN where unknown."""
    if data.video_len is None:
        return np.full(frame.height, np.nan)
    require(frame, [data.video_len.column], "data.video_len")
    if frame[data.video_len.column].dtype.is_temporal():
        raise FulcrumError(
            f"data.video_len: column {data.video_len.column!r} holds {frame[data.video_len.column].dtype}; "
            "expected numbers of seconds or milliseconds"
        )
    units = frame[data.video_len.column].cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()
    return np.where(np.isfinite(units) & (units > 0), units / data.video_len.per_second, np.nan)

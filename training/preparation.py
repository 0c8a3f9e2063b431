"""Preparation: a log and its tables to rows that can be trained on and entities that can be published.

Puts tables, the log's own past and the recipe's expressions together, and cuts the splits. Knows nothing
about networks; the encoder is fitted elsewhere, on the rows that `train` marks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from model.encoding.columns import ListColumn, RawColumn
from model.errors import FulcrumError
from model.schema import (
    DataSpec,
    FeatureSpec,
    LastSplit,
    ListFeature,
    RegressionTask,
    Schema,
    Side,
)
from model.schema.past import HistorySpec, PriorSpec
from training.columns import comparable_keys, to_column
from training.datasets.source import LogSource, SourceTable
from training.expressions import column_names, floats, of_the_row_alone, require
from training.joining import join_table, merge_table, table_keys
from training.past import Clock, history, prior_columns

__all__ = [
    "Entities",
    "PreparedLog",
    "columns_read",
    "made_of_the_past",
    "needed_columns",
    "prepare_entities",
    "prepare_log",
    "same_rows",
]

_Array = npt.NDArray[np.float64]
_MOST_VARYING = 0.05
_ONLY_PAST = "\x00only past"


@dataclass(frozen=True)
class PreparedLog:
    """Impressions in the order of time, ready for the encoder and the trainer.

    Attributes:
        frame: one row an impression: the columns that the recipe names, and each feature under its name.
        columns: raw feature values by feature name, [rows].
        labels: float32 [rows, tasks]; NaN where a task's label is unknown.
        masks: bool [rows, tasks]: the rows that count for a task.
        train, validation: bool [rows].
        group: group number of each row, int64 [rows], for metrics within groups.
        user: user number of each row, int64 [rows], for intervals that resample users.
        video_len_s: seconds, float64 [rows], NaN where unknown.
    """

    frame: pl.DataFrame
    columns: dict[str, RawColumn]
    labels: npt.NDArray[np.float32]
    masks: npt.NDArray[np.bool_]
    train: npt.NDArray[np.bool_]
    validation: npt.NDArray[np.bool_]
    group: npt.NDArray[np.int64]
    user: npt.NDArray[np.int64]
    video_len_s: _Array

    def __len__(self) -> int:
        return self.frame.height


@dataclass(frozen=True)
class Entities:
    """Users or items with the latest known raw values of their features.

    Attributes:
        keys: ids, [rows]; each once.
        columns: raw values by feature name.
        video_len_s: items only: seconds, float64 [rows], NaN where unknown.
    """

    keys: pl.Series
    columns: dict[str, RawColumn]
    video_len_s: _Array | None


def prepare_log(schema: Schema, source: LogSource, *, split: bool = True) -> PreparedLog:
    """Join, evaluate, split.

    Args:
        schema: what to prepare.
        source: the log and its tables.
        split: whether to cut training and validation rows; else every row is in neither.

    Raises:
        FulcrumError: a column is absent, an expression fails, labels are out of range, or a split is empty.
    """
    data = schema.data
    frame, histories = _with_past(data, _joined(schema, source))
    if _ONLY_PAST in frame.columns:
        impressions = ~frame[_ONLY_PAST].to_numpy()
        frame = frame.filter(~pl.col(_ONLY_PAST)).drop(_ONLY_PAST)
        histories = {name: lists.take(impressions) for name, lists in histories.items()}
    for spec in schema.features:
        _check_stored(data, spec, frame)
    labels, masks = _labels(schema, frame)
    train, validation = _split(data, frame) if split else (np.zeros(frame.height, bool),) * 2
    return PreparedLog(
        frame=frame,
        columns=_feature_columns(schema.features, frame, histories),
        labels=labels,
        masks=masks,
        train=train,
        validation=validation,
        group=_numbered(frame[data.group or data.user]),
        user=_numbered(frame[data.user]),
        video_len_s=_video_seconds(data, frame),
    )


def prepare_entities(schema: Schema, source: LogSource, kind: Literal["users", "items"]) -> Entities:
    """Every user or item of the log and of the tables keyed by it, each with its latest raw values.

    Raises:
        FulcrumError: a column that these features need is absent.
    """
    data = schema.data
    key = data.user if kind == "users" else data.item
    if key is None:
        raise FulcrumError("data.item: this schema names no item column, so there are no items to publish")
    side: Side = "user" if kind == "users" else "item"
    log = _kept(data, source.log)
    if data.time is not None:
        log = log.sort(data.time, maintain_order=True)
    require(log, [key], "data")
    # Keys that lead on to further tables, but not to the other side's: an item has no user.
    leading = {table.key for table in source.tables} - {data.user, data.item}
    past = [spec for spec in data.past if set(spec.columns) & _side_columns(schema, side)]
    needed = {key, *_side_columns(schema, side)} | leading | _asked_columns(past)
    keyed = [table_keys(log[key], table) for table in source.tables if table.key == key]
    if any(ours.dtype != log[key].dtype for ours, _ in keyed):
        log = log.with_columns(comparable_keys(log[key]))
        keyed = [table_keys(log[key], table) for table in source.tables if table.key == key]
    keys = pl.concat([log[key], *(theirs for _, theirs in keyed)]).drop_nulls()
    frame = keys.unique(maintain_order=True).to_frame(key)
    latest = log.select([name for name in log.columns if name in needed]).unique(
        key, keep="last", maintain_order=True
    )
    frame = frame.join(latest, on=key, how="left", maintain_order="left")
    for table in source.tables:
        if table.key in frame.columns:
            newest = table.frame.sort(table.as_of, maintain_order=True) if table.as_of else table.frame
            newest = newest.unique(table.key, keep="last", maintain_order=True)
            frame = merge_table(frame, SourceTable(table.name, newest, table.key), needed | {table.key}, None)
    histories: dict[str, ListColumn] = {}
    if past:
        whole = _joined(schema, source)
        clock = Clock.of(data, whole)
        whole, _ = _with_past(data, whole, PriorSpec)
        frame, histories = _ask(past, whole, clock, frame, clock.end(frame.height))
    return Entities(
        keys=frame[key],
        columns=_feature_columns(list(schema.side(side)), frame, histories),
        video_len_s=_video_seconds(data, frame) if kind == "items" else None,
    )


def same_rows(schema: Schema, log: PreparedLog, other: Schema, other_log: PreparedLog) -> bool:
    """Whether both logs are the same impressions in the same order."""
    if schema == other:
        return True
    if len(log) != len(other_log):
        return False
    keys = ((data.user, data.item, data.time) for data in (schema.data, other.data))
    return all(
        log.frame[ours].equals(other_log.frame[theirs], null_equal=True)
        for ours, theirs in zip(*keys, strict=True)
        if ours is not None and theirs is not None
    )


def _joined(schema: Schema, source: LogSource) -> pl.DataFrame:
    """The log's rows in the order of time with what its tables say of them.

    Where something is made of the past, the rows that are only past are among them, and marked.
    """
    data = schema.data
    if source.log.is_empty():
        raise FulcrumError("the log has no rows; is this the right folder?")
    frame = _kept(data, source.log)
    if frame.is_empty():
        raise FulcrumError(f"data.keep: {data.keep!r} keeps none of {source.log.height} rows")
    if data.past and source.past is not None:
        marked = (
            rows.with_columns(pl.lit(only).alias(_ONLY_PAST))
            for rows, only in ((source.past, True), (frame, False))
        )
        frame = pl.concat(marked, how="diagonal_relaxed")
    if data.time is not None:
        require(frame, [data.time], "data.time")
        frame = frame.sort(data.time, maintain_order=True)
        if timeless := frame[data.time].null_count():
            raise FulcrumError(
                f"data.time: {timeless} rows have no {data.time}; leave them out with data.keep"
            )
    needed = needed_columns(schema) | {table.key for table in source.tables}
    for table in source.tables:
        frame = join_table(frame, table, needed, data.time)
    require(frame, [data.user, *_optional(data.item, data.group)], "data")
    return frame


def _with_past(
    data: DataSpec, frame: pl.DataFrame, *kinds: type
) -> tuple[pl.DataFrame, dict[str, ListColumn]]:
    """The log with its priors as columns, and its histories: each row's own, as of its time."""
    if not data.past:
        return frame, {}
    clock = Clock.of(data, frame)
    histories: dict[str, ListColumn] = {}
    for spec in data.past:
        if not kinds or isinstance(spec, kinds):
            frame, more = _ask([spec], frame, clock, frame, clock.ticks)
            histories |= more
    return frame, histories


def _ask(
    past: Sequence[PriorSpec | HistorySpec],
    log: pl.DataFrame,
    clock: Clock,
    rows: pl.DataFrame,
    times: npt.NDArray[np.int64] | _Array,
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


def made_of_the_past(schema: Schema, feature: FeatureSpec) -> bool:
    """Whether a feature reads a prior or a history, which move with the log."""
    return any(columns_read(feature) & set(spec.columns) for spec in schema.data.past)


def columns_read(feature: FeatureSpec) -> set[str]:
    """The columns of the log, its tables or its past that a feature is made of."""
    return column_names(feature.expr) if feature.expr is not None else {feature.source}


def _check_stored(data: DataSpec, feature: FeatureSpec, frame: pl.DataFrame) -> None:
    """Refuse a feature of a user or video that is made by something else than that user or video."""
    read = columns_read(feature)
    key = {"user": data.user, "item": data.item, "context": None}[feature.side]
    for spec in data.past:
        if not read & set(spec.columns):
            continue
        made = f"features.{feature.name}: {spec.name!r} is made by {', '.join(spec.by)}"
        if key is None and data.item in spec.by:
            raise FulcrumError(f"{made}; a context feature is one for all candidates of a request")
        for name in spec.by:
            if key is None or name == key:
                continue
            values = frame.group_by(key).agg(pl.col(name).n_unique())[name]
            varying = float(np.mean(values.to_numpy() > 1))
            if varying > _MOST_VARYING:
                raise FulcrumError(
                    f"{made}, and {name} takes several values for {varying:.0%} of {key}, by which the "
                    "feature store keeps it; make it a context feature, which the request brings"
                )


def _kept(data: DataSpec, log: pl.DataFrame) -> pl.DataFrame:
    if data.keep is None:
        return log
    return log.filter(floats(log, data.keep, "data.keep") == 1.0)


def needed_columns(schema: Schema) -> set[str]:
    """Every column of the log and its tables that the schema names."""
    data = schema.data
    expressions = [task.label for task in schema.tasks] + [task.where for task in schema.tasks if task.where]
    if not isinstance(data.split, LastSplit):
        expressions += [data.split.train, data.split.validation]
    columns = {data.user, *_optional(data.item, data.time, data.group)}
    for spec in data.past:
        expressions += [spec.of, *_optional(spec.where)]
    for text in expressions:
        columns |= column_names(text)
    columns |= _asked_columns(data.past)
    return (
        columns
        | _side_columns(schema, "user")
        | _side_columns(schema, "item")
        | _side_columns(schema, "context")
    )


def _asked_columns(past: Sequence[PriorSpec | HistorySpec]) -> set[str]:
    """Columns that rows need to ask about their past."""
    columns = {name for spec in past for name in spec.by}
    return columns | {spec.seed for spec in past if isinstance(spec, HistorySpec) and spec.seed is not None}


def _side_columns(schema: Schema, side: Side) -> set[str]:
    columns: set[str] = set()
    for spec in schema.side(side):
        columns |= columns_read(spec)
    if side == "item" and schema.data.video_len is not None:
        columns.add(schema.data.video_len.column)
    return columns


def _feature_columns(
    specs: Sequence[FeatureSpec], frame: pl.DataFrame, histories: Mapping[str, ListColumn]
) -> dict[str, RawColumn]:
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


def _labels(schema: Schema, frame: pl.DataFrame) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    labels = np.empty((frame.height, len(schema.tasks)), np.float32)
    masks = np.empty((frame.height, len(schema.tasks)), bool)
    for place, task in enumerate(schema.tasks):
        field = f"tasks.{task.name}"
        label = floats(frame, task.label, f"{field}.label")
        inside = (
            floats(frame, task.where, f"{field}.where") == 1.0
            if task.where is not None
            else np.ones(frame.height, bool)
        )
        mask = inside & np.isfinite(label)
        if isinstance(task, RegressionTask):
            label = np.clip(np.where(np.isfinite(label), label, np.nan), *task.bounds)
        elif (strange := label[mask & (label != 0.0) & (label != 1.0)]).size:
            raise FulcrumError(
                f"{field}.label: expected 0 or 1 (or true and false), found {strange[0]:g} "
                f"in {strange.size} rows; compare with a threshold, or make the task a regression"
            )
        labels[:, place], masks[:, place] = label, mask
    return labels, masks


def _split(data: DataSpec, frame: pl.DataFrame) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    if isinstance(data.split, LastSplit):
        times = frame[data.time] if data.time is not None else pl.Series(range(frame.height))
        cut = times[min(round(frame.height * (1.0 - data.split.last)), frame.height - 1)]
        train = (times < cut).to_numpy()  # rows of one moment stay on one side
        validation = ~train
    else:
        train = floats(frame, data.split.train, "data.split.train") == 1.0
        validation = floats(frame, data.split.validation, "data.split.validation") == 1.0
    both = int((train & validation).sum())
    if both:
        raise FulcrumError(f"data.split: {both} rows are in training and in validation; part them")
    for name, rows in (("train", train), ("validation", validation)):
        if not rows.any():
            raise FulcrumError(f"data.split.{name}: no row of {frame.height} is in it; is the rule right?")
    return train, validation


def _video_seconds(data: DataSpec, frame: pl.DataFrame) -> _Array:
    if data.video_len is None:
        return np.full(frame.height, np.nan)
    require(frame, [data.video_len.column], "data.video_len")
    units = frame[data.video_len.column].cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()
    return np.where(np.isfinite(units) & (units > 0), units / data.video_len.per_second, np.nan)


def _numbered(series: pl.Series) -> npt.NDArray[np.int64]:
    return series.rank("dense").fill_null(0).cast(pl.Int64).to_numpy()


def _optional(*names: str | None) -> list[str]:
    return [name for name in names if name is not None]

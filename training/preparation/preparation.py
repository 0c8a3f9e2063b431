"""Preparation: a log and its tables to rows that can be trained on and entities that can be published.

Puts tables, the log's own past and the recipe's expressions together, and cuts the splits. Knows nothing
about networks; the encoder is fitted elsewhere, on the rows that `train` marks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from model.encoding.columns import RawColumn
from model.errors import FulcrumError
from model.schema import DataSpec, FeatureSpec, RegressionTask, Schema
from training.datasets.source import LogSource
from training.preparation.expressions import TextForNumbersError, floats
from training.preparation.joined import ONLY_PAST, Array, joined, with_past
from training.preparation.joining import Join
from training.preparation.needed import columns_read
from training.preparation.splits import split_rows
from training.preparation.values import feature_columns, video_seconds

_MOST_VARYING = 0.05


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
        joins: what came of each table.
        past_from: the first moment that anything is known of, where priors or histories are made of the log.
    """

    frame: pl.DataFrame
    columns: dict[str, RawColumn]
    labels: npt.NDArray[np.float32]
    masks: npt.NDArray[np.bool_]
    train: npt.NDArray[np.bool_]
    validation: npt.NDArray[np.bool_]
    group: npt.NDArray[np.int64]
    user: npt.NDArray[np.int64]
    video_len_s: Array
    joins: tuple[Join, ...] = ()
    past_from: Any = None

    def __len__(self) -> int:
        return self.frame.height


def prepare_log(schema: Schema, source: LogSource, *, split: bool = True) -> PreparedLog:
    """Join, evaluate, split.

    Args:
        schema: what to prepare.
        source: the log and its tables.
        split: whether to cut training and validation rows; else every row is in neither.

    Raises:
        FulcrumError: a column is absent, an expression fails, labels are out of range, or a split is empty.
    """
    try:
        return _prepared(schema, source, split)
    except TextForNumbersError as error:
        if not (place := source.place(error.column, error.value)):
            raise
        raise FulcrumError(f"{error} ({place})") from error


def _prepared(schema: Schema, source: LogSource, split: bool) -> PreparedLog:
    data = schema.data
    frame, joins = joined(schema, source)
    past_from = frame[data.time][0] if data.past and data.time is not None else None
    frame, histories = with_past(data, frame)
    if ONLY_PAST in frame.columns:
        impressions = ~frame[ONLY_PAST].to_numpy()
        frame = frame.filter(~pl.col(ONLY_PAST)).drop(ONLY_PAST)
        histories = {name: lists.take(impressions) for name, lists in histories.items()}
    for spec in schema.features:
        _check_stored(data, spec, frame)
    labels, masks = _labels(schema, frame)
    train, validation = split_rows(data, frame) if split else (np.zeros(frame.height, bool),) * 2
    return PreparedLog(
        frame=frame,
        columns=feature_columns(schema.features, frame, histories),
        labels=labels,
        masks=masks,
        train=train,
        validation=validation,
        group=_numbered(frame[data.group or data.user]),
        user=_numbered(frame[data.user]),
        video_len_s=video_seconds(data, frame),
        joins=joins,
        past_from=past_from,
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


def _numbered(series: pl.Series) -> npt.NDArray[np.int64]:
    return series.rank("dense").fill_null(0).cast(pl.Int64).to_numpy()

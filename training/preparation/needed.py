"""Needed columns: what of a log and its tables a schema reads. Knows no rows."""

from __future__ import annotations

from collections.abc import Sequence

from model.schema import FeatureSpec, LastSplit, Schema, Side
from model.schema.past import HistorySpec, PriorSpec
from training.preparation.expressions import column_names


def made_of_the_past(schema: Schema, feature: FeatureSpec) -> bool:
    """Whether a feature reads a prior or a history, which move with the log."""
    return any(columns_read(feature) & set(spec.columns) for spec in schema.data.past)


def columns_read(feature: FeatureSpec) -> set[str]:
    """The columns of the log, its tables or its past that a feature is made of."""
    return column_names(feature.expr) if feature.expr is not None else {feature.source}


def needed_columns(schema: Schema) -> set[str]:
    """Every column of the log and its tables that the schema names."""
    data = schema.data
    expressions = [task.label for task in schema.tasks] + [task.where for task in schema.tasks if task.where]
    if not isinstance(data.split, LastSplit):
        expressions += [data.split.train, data.split.validation]
    columns = {data.user, *optional(data.item, data.time, data.group)}
    if schema.reward is not None:
        columns |= column_names(schema.reward) - {*schema.task_names, "video_len_s"}
    for spec in data.past:
        expressions += [spec.of, *optional(spec.where)]
    for text in expressions:
        columns |= column_names(text)
    columns |= asked_columns(data.past)
    return (
        columns
        | side_columns(schema, "user")
        | side_columns(schema, "item")
        | side_columns(schema, "context")
    )


def asked_columns(past: Sequence[PriorSpec | HistorySpec]) -> set[str]:
    """Columns that rows need to ask about their past."""
    columns = {name for spec in past for name in spec.by}
    return columns | {spec.seed for spec in past if isinstance(spec, HistorySpec) and spec.seed is not None}


def side_columns(schema: Schema, side: Side) -> set[str]:
    """Columns that the features of a side read, and an item's video length."""
    columns: set[str] = set()
    for spec in schema.side(side):
        columns |= columns_read(spec)
    if side == "item" and schema.data.video_len is not None:
        columns.add(schema.data.video_len.column)
    return columns


def optional(*names: str | None) -> list[str]:
    """The names that are given."""
    return [name for name in names if name is not None]

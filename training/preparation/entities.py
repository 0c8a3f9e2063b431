"""Entities: users and items with the latest known raw values of their features, for the feature store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import polars as pl

from model.encoding.columns import ListColumn, RawColumn
from model.errors import FulcrumError
from model.schema import Schema, Side
from model.schema.past import PriorSpec
from training.datasets.moments import check_moments, missing_moments
from training.datasets.source import LogSource, SourceTable
from training.preparation.columns import comparable_keys
from training.preparation.expressions import require
from training.preparation.joined import Array, ask, joined, kept, refuse_timeless, with_past
from training.preparation.joining import merge_table, table_keys
from training.preparation.needed import asked_columns, side_columns
from training.preparation.past import Clock
from training.preparation.values import feature_columns, video_seconds


@dataclass(frozen=True)
class Entities:
    """Users or items with the latest known raw values of their features.

    Attributes:
        keys: ids, [rows]; each once.
        columns: raw values by feature name.
        video_len_s: items only: seconds, float64 [rows], NaN where unknown.
        doubts: about the tables that they come from, for people.
    """

    keys: pl.Series
    columns: dict[str, RawColumn]
    video_len_s: Array | None
    doubts: tuple[str, ...] = ()


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
    log = kept(data, source.log)
    if data.time is not None:
        require(log, [data.time], "data.time")
        refuse_timeless(log[data.time])
        log = log.sort(data.time, maintain_order=True)
    require(log, [key], "data")
    # Keys that lead on to further tables, but not to the other side's: an item has no user.
    leading = {table.key for table in source.tables} - {data.user, data.item}
    past = [spec for spec in data.past if set(spec.columns) & side_columns(schema, side)]
    needed = {key, *side_columns(schema, side)} | leading | asked_columns(past)
    keyed = [table_keys(log[key], table) for table in source.tables if table.key == key]
    if any(ours.dtype != log[key].dtype for ours, _ in keyed):
        log = log.with_columns(comparable_keys(log[key]))
        keyed = [table_keys(log[key], table) for table in source.tables if table.key == key]
    apart = (table for table in source.tables if table.key == key)
    doubts = tuple(
        f"table {table.name!r}: none of its {len(theirs):,} rows has a {key} of the log, such as "
        f"{ours[0]!r}; its own are such as {theirs[0]!r}. Are both spelled alike?"
        for table, (ours, theirs) in zip(apart, keyed, strict=True)
        if len(ours) and len(theirs) and not theirs.is_in(ours.unique().implode()).any()
    )
    keys = pl.concat([log[key], *(theirs for _, theirs in keyed)]).drop_nulls()
    frame = keys.unique(maintain_order=True).to_frame(key)
    latest = log.select([name for name in log.columns if name in needed]).unique(
        key, keep="last", maintain_order=True
    )
    frame = frame.join(latest, on=key, how="left", maintain_order="left")
    for table in source.tables:
        if table.key in frame.columns:
            newest = table.frame
            if table.as_of is not None:
                known = table.frame[table.as_of]
                check_moments(known, f"table {table.name!r}: as_of")
                newest = table.frame.filter(~missing_moments(known)).sort(table.as_of, maintain_order=True)
            newest = newest.unique(table.key, keep="last", maintain_order=True)
            undated = SourceTable(table.name, newest, table.key)
            frame, _ = merge_table(frame, undated, needed | {table.key}, None)
    histories: dict[str, ListColumn] = {}
    if past:
        whole, _ = joined(schema, source)
        clock = Clock.of(data, whole)
        whole, _ = with_past(data, whole, PriorSpec)
        frame, histories = ask(past, whole, clock, frame, clock.end(frame.height))
    return Entities(
        keys=frame[key],
        columns=feature_columns(list(schema.side(side)), frame, histories),
        video_len_s=video_seconds(data, frame) if kind == "items" else None,
        doubts=doubts,
    )

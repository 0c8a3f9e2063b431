"""`fulcrum schema check`: what is wrong with one's own log, before anything is trained on it.

Errors stop a training; warnings are what a careful colleague would ask about.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl

from model.encoding import MISSING, UNKNOWN, Column, Encoder, ListEncoder, NumericEncoder
from model.schema import NumericFeature, Schema
from training.datasets import read_source
from training.preparation.doubts import Doubts, cannot_be_judged
from training.preparation.expressions import column_names
from training.preparation.needed import columns_read, made_of_the_past
from training.preparation.preparation import PreparedLog, prepare_log
from training.preparation.worth import reward_of, worth_of


@dataclass(frozen=True)
class TaskSummary:
    """A task over the whole log: rows in its sample space, their share, the label's mean a split."""

    name: str
    rows: int
    mask_rate: float
    train_mean: float
    validation_mean: float
    positives: int | None


@dataclass(frozen=True)
class FeatureSummary:
    """A feature over the training split, and how much of validation it does not know."""

    name: str
    side: str
    kind: str
    missing: float
    size: str
    unknown_in_validation: float | None


@dataclass(frozen=True)
class SchemaReport:
    """What was found."""

    rows: int
    train_rows: int
    validation_rows: int
    users: int
    items: int | None
    tasks: list[TaskSummary]
    features: list[FeatureSummary]
    warnings: list[str] = field(default_factory=list)
    notes: tuple[str, ...] = ()


def check_schema(schema: Schema, folder: Path | None) -> SchemaReport:
    """Read, join, evaluate and encode as training would, and look at the outcome.

    Raises:
        FulcrumError: what would stop a training.
    """
    source = read_source(schema, folder)
    log = prepare_log(schema, source)
    encoder = Encoder.fit(schema, {name: column.take(log.train) for name, column in log.columns.items()})
    frame = log.frame
    doubts = Doubts(schema, source)
    doubts.add(log)
    labels = {task.name: log.labels[:, place].astype(np.float64) for place, task in enumerate(schema.tasks)}
    worth_of(reward_of(schema), log.frame, labels, log.video_len_s)
    return SchemaReport(
        rows=len(log),
        train_rows=int(log.train.sum()),
        validation_rows=int(log.validation.sum()),
        users=frame[schema.data.user].n_unique(),
        items=frame[schema.data.item].n_unique() if schema.data.item else None,
        tasks=[_task(schema, log, place) for place in range(len(schema.tasks))],
        features=[_feature(encoder, log, name) for name in encoder.features],
        warnings=[
            *doubts.found(),
            *_unjudged(schema, log),
            *_time_warnings(schema, log),
            *_label_warnings(schema, log),
            *_side_warnings(schema, log),
            *_past_warnings(schema),
        ],
        notes=source.notes,
    )


def _unjudged(schema: Schema, log: PreparedLog) -> list[str]:
    """Tasks that a split says nothing of: training refuses them, or cannot judge what was learned."""
    splits = (("training", log.train), ("validation", log.validation))
    return [
        f"tasks.{task}: {why} in the {name} split"
        for name, rows in splits
        for task, why in cannot_be_judged(schema, log.labels[rows], log.masks[rows]).items()
    ]


def _task(schema: Schema, log: PreparedLog, place: int) -> TaskSummary:
    task = schema.tasks[place]
    mask, label = log.masks[:, place], log.labels[:, place]

    def mean(rows: np.ndarray) -> float:
        kept = label[mask & rows]
        return float(kept.mean()) if kept.size else float("nan")

    return TaskSummary(
        task.name,
        int(mask.sum()),
        float(mask.mean()),
        mean(log.train),
        mean(log.validation),
        int((label[mask] > 0.5).sum()) if task.type == "binary" else None,
    )


def _feature(encoder: Encoder, log: PreparedLog, name: str) -> FeatureSummary:
    spec = next(spec for spec in encoder.schema.features if spec.name == name)
    feature, column = encoder.features[name], log.columns[name]
    if isinstance(feature, NumericEncoder):
        missing = _missing_numbers(feature, cast(Column, column).take(log.train))
        return FeatureSummary(name, spec.side, spec.kind, missing, f"mean {feature.mean:.4g}", None)
    known = feature.vocabulary.known
    size = f"{len(known):,} values" if known is not None else "hashed"
    if feature.vocabulary.hash_buckets is not None and known is not None:
        size += ", the rest hashed"
    if isinstance(feature, ListEncoder):
        codes = feature.encode(column)
        judged = codes[log.validation]
        unknown = (judged == UNKNOWN).sum() / max(1, (judged != MISSING).sum())
        size += f", {(codes[log.train] > 0).sum(axis=1).mean():.1f} a row"
    else:
        codes = feature.encode(cast(Column, column))[:, None]
        unknown = (codes[log.validation] == UNKNOWN).mean()
    return FeatureSummary(
        name,
        spec.side,
        spec.kind,
        float((codes[log.train, 0] == MISSING).mean()),
        size,
        float(unknown),
    )


def _missing_numbers(feature: NumericEncoder, column: Column) -> float:
    return float(feature.encode(column)[:, 1].mean()) if feature.flag else 0.0


def _time_warnings(schema: Schema, log: PreparedLog) -> list[str]:
    time = schema.data.time
    if time is None:
        return ["data.time is not given: nothing shows that validation comes after training"]
    last, first = log.frame[time].filter(log.train).max(), log.frame[time].filter(log.validation).min()
    if last is not None and first is not None and last > first:  # type: ignore[operator]
        return [f"data.split: training reaches to {last!s}, after validation begins at {first!s}"]
    return []


def _label_warnings(schema: Schema, log: PreparedLog) -> list[str]:
    """A feature that a label is made of, or that all but decides it, leaks unless known before the view."""
    warnings = []
    length = {schema.data.video_len.column} if schema.data.video_len is not None else set()
    for task in schema.tasks:
        of_label = column_names(task.label) - length
        for spec in schema.features:
            source = columns_read(spec)
            if shared := sorted(source & of_label):
                warnings.append(
                    f"feature {spec.name!r} reads {shared[0]!r}, as the label of {task.name!r} does: "
                    "is it known before the view?"
                )
    for place, task in enumerate(schema.tasks):
        rows = np.flatnonzero(log.masks[:, place])
        if task.type != "binary" or not rows.size:
            continue
        rate = log.labels[rows, place].mean()
        if rate < 0.001 or rate > 0.999:
            warnings.append(f"tasks.{task.name}: the label's mean is {rate:.5f}; expect wide intervals")
        warnings += [
            f"feature {spec.name!r} all but decides the label of {task.name!r}: a leak?"
            for spec in schema.features
            if isinstance(spec, NumericFeature) and _decides(log, spec.name, rows, log.labels[rows, place])
        ]
    return warnings


def _decides(log: PreparedLog, name: str, rows: np.ndarray, labels: np.ndarray) -> bool:
    column = log.columns[name]
    if not isinstance(column, Column) or not isinstance(column.values, np.ndarray):
        return False
    numbers = column.values[rows]
    present = np.isfinite(numbers)
    if present.sum() < 100:
        return False
    from training.metrics.task_metrics import auc

    area = auc(numbers[present], labels[present])
    return bool(np.isfinite(area) and max(area, 1 - area) > 0.995)


def _side_warnings(schema: Schema, log: PreparedLog) -> list[str]:
    """A user or item feature that varies within its user or item is published with its latest value only."""
    warnings = []
    for side, key in (("user", schema.data.user), ("item", schema.data.item)):
        if key is None:
            continue
        for spec in schema.side(side):  # type: ignore[arg-type]
            if spec.expr is not None or spec.source not in log.frame.columns or spec.source == key:
                continue
            if made_of_the_past(schema, spec):
                continue  # it moves with the log, and publishing follows
            kinds = log.frame.group_by(key).agg(pl.col(spec.source).n_unique().alias("kinds"))["kinds"]
            share = float(np.mean(kinds.to_numpy() > 1))
            if share > 0.05:
                warnings.append(
                    f"feature {spec.name!r} takes several values for {share:.0%} of {key}, and serving knows "
                    "the published one: should it be side context, or come with the request?"
                )
    return warnings


def _past_warnings(schema: Schema) -> list[str]:
    """What is made of the log and read by nothing takes time for nothing."""
    read = {name for spec in schema.features for name in columns_read(spec)}
    read |= {
        name
        for past in schema.data.past
        for text in (past.of, past.where)
        if text
        for name in column_names(text)
    }
    return [
        f"data: {past.name!r} is made of the log, and no feature reads {' or '.join(past.columns)}"
        for past in schema.data.past
        if not read & set(past.columns)
    ]

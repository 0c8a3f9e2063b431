"""Predictions and what came of them: of a joined log, as served, or of a log's rows by the bundle's network.

Knows nothing of what is done with them. Shapes: n rows, T tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from model.bundle import Bundle
from model.errors import FulcrumError, listed
from model.schema import Schema, TaskSpec
from model.schema.features import NumericFeature
from training.datasets import read_source
from training.datasets.source import LogSource
from training.evaluation.predicting import bundle_predictions
from training.preparation.preparation import PreparedLog, prepare_log
from training.progress import Note, Observer, Stage, silent
from training.rows.material import encode_rows


@dataclass(frozen=True, eq=False)
class Predicted:
    """Rows whose predictions can be held against their labels.

    Attributes:
        tasks: the bundle's.
        predictions: by task, float64 [n].
        labels: float64 [n, T].
        masks: rows of each task's sample space, bool [n, T].
        users: numbers of users [n].
        video_len_s: seconds, NaN where unknown [n].
        values: of the context feature asked for [n]; none where None was.
        source: where they are from, for people.
    """

    tasks: Sequence[TaskSpec]
    predictions: Mapping[str, npt.NDArray[np.float64]]
    labels: npt.NDArray[np.float64]
    masks: npt.NDArray[np.bool_]
    users: npt.NDArray[np.int64]
    video_len_s: npt.NDArray[np.float64]
    values: Sequence[Any]
    source: str

    def __len__(self) -> int:
        return len(self.users)


def check_feature(schema: Schema, name: str | None) -> None:
    """Refuse what is no context feature of the bundle.

    Raises:
        FulcrumError: there is none of that name.
    """
    known = [spec.name for spec in schema.side("context")]
    if name is not None and name not in known:
        raise FulcrumError(
            f"--by {name}: no context feature of the bundle; expected video_len, or one of: {listed(known)}"
        )


def logged_predictions(
    bundle: Bundle,
    folder: Path,
    feature: str | None = None,
    *,
    open_too: bool = False,
    observer: Observer = silent,
) -> Predicted:
    """Predictions that a bundle served, and the labels that feedback made.

    Args:
        bundle: that served them; rows of other bundles are left out.
        folder: what `fulcrum events join` wrote.
        feature: a context feature whose values are wanted.
        open_too: also impressions whose windows were open when they were joined.
        observer: called with progress.

    Raises:
        FulcrumError: no joined log, or none of its rows has predictions of this bundle.
    """
    schema = _as_served(bundle.schema, feature, open_too)
    observer(Stage(f"Reading the predictions that were served: {folder}"))
    source = read_source(schema, folder)
    for note in source.notes:
        observer(Note(note))
    source = _of_bundle(source, bundle, folder, observer)
    log = prepare_log(schema, source, split=False)
    every = np.arange(len(log))
    predictions = {name: log.frame[f"p_{name}"].to_numpy() for name in schema.task_names}
    return _predicted(
        schema, log, every, predictions, feature, f"{len(log):,} impressions served, in {folder}"
    )


def made_predictions(
    bundle: Bundle, folder: Path | None, feature: str | None = None, *, observer: Observer = silent
) -> Predicted:
    """Predictions of a log's rows by the bundle's network: of its own training folder the validation split.

    Args:
        bundle: verified.
        folder: the log's files; None where the data set needs none.
        feature: a context feature whose values are wanted.
        observer: called with progress.

    Raises:
        FulcrumError: the data does not fit the bundle's schema, or has no rows.
    """
    schema = bundle.schema
    source = read_source(schema, folder)
    same = source.fingerprint == bundle.manifest.data.get("fingerprint")
    log = prepare_log(schema, source, split=same)
    rows = np.flatnonzero(log.validation) if same else np.arange(len(log))
    if not len(rows):
        raise FulcrumError(f"there is no row in {folder or source.fingerprint}; expected impressions")
    what = "impressions of the validation split" if same else "impressions"
    observer(Stage(f"Predicting {len(rows):,} {what}"))
    predictions = bundle_predictions(bundle.network_path, encode_rows(bundle.encoder, log, rows), observer)
    return _predicted(schema, log, rows, predictions, feature, f"{len(rows):,} {what}")


def _as_served(schema: Schema, feature: str | None, open_too: bool) -> Schema:
    """The bundle's labels over a joined log: of features, the one asked for and what was predicted."""
    kept = tuple(spec for spec in schema.side("context") if spec.name == feature)
    logged = tuple(
        NumericFeature(name=f"p_{name}", side="item", kind="numeric") for name in schema.task_names
    )
    changes: dict[str, Any] = {
        "options": {"mature": False} if open_too else {},
        "priors": (),
        "histories": (),
        "past_until": None,
        "group": None,
    }
    if schema.data.reader != "served":
        changes |= {"reader": "served", "keep": None, "tables": (), "time": "time_ms", "time_unit": "ms"}
    data = schema.data.model_copy(update=changes)
    return schema.model_copy(update={"data": data, "features": (*kept, *logged)})


def _of_bundle(source: LogSource, bundle: Bundle, folder: Path, observer: Observer) -> LogSource:
    """The rows with predictions of this bundle."""
    columns = [f"p_{name}" for name in bundle.task_names]
    absent = [name for name in columns if name not in source.log.columns]
    if absent:
        raise FulcrumError(
            f"{folder}: no column {absent[0]!r}; expected predictions of the bundle's tasks, "
            f"{listed(bundle.task_names)}: was this log served by {bundle.path}?"
        )
    predicted = source.log.filter(pl.all_horizontal(pl.col(columns).is_not_null()))
    if predicted.is_empty():
        raise FulcrumError(
            f"{folder}: no impression has its predictions; serve with FULCRUM_EXPOSURE_CANDIDATES above 0, "
            "the share of requests whose candidates are logged"
        )
    ours = predicted
    if "bundle_version" in predicted.columns:
        ours = predicted.filter(pl.col("bundle_version") == bundle.version)
    if ours.is_empty():
        others = listed(map(str, predicted["bundle_version"].unique().sort()))
        raise FulcrumError(f"{folder}: no predictions of {bundle.path}, {bundle.version}; there are {others}")
    observer(Note(f"{ours.height:,} of {source.log.height:,} impressions have predictions of this bundle"))
    return replace(source, log=ours)


def _predicted(
    schema: Schema,
    log: PreparedLog,
    rows: npt.NDArray[np.int64],
    predictions: Mapping[str, npt.NDArray[Any]],
    feature: str | None,
    source: str,
) -> Predicted:
    return Predicted(
        tasks=schema.tasks,
        predictions={name: np.asarray(predictions[name], np.float64) for name in schema.task_names},
        labels=log.labels[rows].astype(np.float64),
        masks=log.masks[rows],
        users=log.user[rows],
        video_len_s=log.video_len_s[rows],
        values=() if feature is None else [log.columns[feature].value(row) for row in rows.tolist()],
        source=source,
    )

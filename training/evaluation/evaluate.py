"""Evaluation of a bundle on a log: the numbers that serving gives, judged under each task's mask.

Runs the exported network by onnxruntime, so its predictions are those of the service. What the numbers are
made of is in `training/evaluation`; what they mean, in docs/evaluation.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from model.bundle import FP32, Bundle
from model.encoding.columns import Column
from model.errors import FulcrumError
from model.schema import TaskSpec
from training.datasets import read_source
from training.evaluation.against import OtherBundle, shared_tasks
from training.evaluation.fused_order import FusedOrder, FusedScore
from training.evaluation.judged import Judged, Predictions
from training.evaluation.predicting import bundle_predictions, named
from training.metrics.calibration import by_length, by_prediction, calibration_error
from training.metrics.resampling import Resamples
from training.metrics.task_metrics import GroupedScorer, finite, task_metrics
from training.preparation.columns import to_series
from training.preparation.doubts import Doubts, doubts_of_past
from training.preparation.expressions import floats
from training.preparation.needed import made_of_the_past
from training.preparation.preparation import prepare_log
from training.progress import Advanced, Observer, Stage, Warned, silent
from training.rows.material import encode_rows

_FEW_VALUES = 64


@dataclass(frozen=True)
class Judgement:
    """What is judged beside the tasks, and how.

    Attributes:
        fused: a fused score to judge, too.
        against: another bundle to compare with, verified; its predictions are float32.
        group: column of the groups within which orders are judged; the schema's where None.
        variant: of the network whose predictions are judged.
        where: Polars SQL over the log: which rows are judged; all are the past of those after them.
    """

    fused: FusedScore | None = None
    against: Bundle | None = None
    group: str | None = None
    variant: str = FP32
    where: str | None = None


_TASKS_ALONE = Judgement()


class Evaluation:
    """Metrics of a bundle on some rows, and the rows themselves.

    Attributes:
        report: JSON by keys; None for numbers that cannot be computed.
        rows: keys, context, labels, masks and predictions, one row an impression.
    """

    def __init__(self, report: dict[str, Any], rows: pl.DataFrame) -> None:
        self.report = report
        self.rows = rows


def evaluate_bundle(
    bundle: Bundle,
    folder: Path | None = None,
    judgement: Judgement = _TASKS_ALONE,
    observer: Observer = silent,
) -> Evaluation:
    """Judge a bundle: on the folder it was trained from the validation split, on any other all rows.

    Args:
        bundle: verified.
        folder: the log's files; None where the data set needs none.
        judgement: what is judged beside the tasks.
        observer: told of progress.

    Raises:
        FulcrumError: the data does not fit the bundle's schema, the fusion config its tasks, or the other
            bundle the rows, or the bundle has no such variant.
    """
    schema, network = bundle.schema, bundle.variant_path(judgement.variant)
    fused, against = judgement.fused, judgement.against
    config = fused.read_config(bundle.task_names) if fused is not None else None
    if against is not None:
        shared_tasks(schema, against)
    source = read_source(schema, folder)
    same = source.fingerprint == bundle.manifest.data.get("fingerprint")
    log = prepare_log(schema, source, split=same)
    rows = np.flatnonzero(log.validation) if same else np.arange(len(log))
    if judgement.where is not None:
        rows = rows[floats(log.frame, judgement.where, "where")[rows] == 1.0]
    if not len(rows):
        chosen = f" where {judgement.where}" if judgement.where is not None else ""
        raise FulcrumError(f"evaluation: there is no row to judge in {folder or source.fingerprint}{chosen}")
    doubts = Doubts(schema)
    doubts.add(log)
    for doubt in (*doubts.of_the_past(), *doubts_of_past(schema, log, rows, bundle.manifest.data)):
        observer(Warned(doubt))
    if judgement.group is not None:
        log = replace(log, group=_numbered(log.frame, judgement.group))
    column = judgement.group or schema.data.group or schema.data.user
    judged = Judged(schema, log, rows, encode_rows(bundle.encoder, log, rows), column)
    order = FusedOrder(judged, fused, config) if fused is not None and config is not None else None
    of = "the validation split" if same else "all rows"
    of += "" if judgement.where is None else f" where {judgement.where}"
    observer(Stage(f"Evaluating {of}: {len(rows):,} impressions"))
    predictions = bundle_predictions(network, judged.encoded, observer)
    other = OtherBundle(judged, against, source, folder, observer) if against is not None else None
    observer(Advanced("resampling users", 0, None))
    report = {
        "bundle": named(bundle) | {"variant": judgement.variant},
        "data": {
            "fingerprint": source.fingerprint,
            "rows": len(rows),
            "split": "validation" if same else "all",
            "where": judgement.where,
            "group": column,
        },
        "tasks": _tasks(judged, predictions),
        "groups": _groups(judged, predictions),
        "fusion": order.report(predictions) if order is not None else {},
        "against": other.report(predictions, order) if other is not None else {},
    }
    return Evaluation(finite(report), _rows(judged, predictions))


def _numbered(frame: pl.DataFrame, column: str) -> npt.NDArray[np.int64]:
    """The groups that a column names, by number; a row without a value is a group of its own."""
    if column not in frame.columns:
        raise FulcrumError(
            f"group {column!r}: this column is not in the data; there is {', '.join(frame.columns)}"
        )
    try:
        ranks = frame[column].rank("dense").cast(pl.Int64)
    except pl.exceptions.PolarsError as error:
        raise FulcrumError(
            f"group {column!r}: {frame[column].dtype} values cannot name groups; expected ids"
        ) from error
    return np.where(ranks.is_null(), -1 - np.arange(len(ranks)), ranks.fill_null(0))


def _tasks(judged: Judged, predictions: Predictions) -> dict[str, Any]:
    """Metrics of each task on its sample space and on all rows, and its calibration."""
    encoded = judged.encoded
    found: dict[str, Any] = {}
    for place, task in enumerate(judged.schema.tasks):

        def metrics(rows: npt.NDArray[np.bool_], place: int = place, task: TaskSpec = task) -> dict[str, Any]:
            return task_metrics(
                task.type,
                predictions[task.name][rows],
                encoded.labels[rows, place],
                encoded.group[rows],
                encoded.user_number[rows],
            )

        inside, known = encoded.masks[:, place], judged.known(place)
        own = metrics(inside)
        p, y, users = (
            predictions[task.name][inside],
            encoded.labels[inside, place],
            encoded.user_number[inside],
        )
        deciles = by_prediction(task.type, p, y, users)
        found[task.name] = own | {
            "all_rows": dict(own) if np.array_equal(inside, known) else metrics(known),
            "calibration_error": calibration_error(deciles),
            "deciles": deciles,
            "lengths": by_length(task.type, p, y, judged.video_len_s[inside], users),
        }
    return found


def _groups(judged: Judged, predictions: Predictions) -> dict[str, Any]:
    """AUC within the groups and within each value of a context feature of few values."""
    encoded, log = judged.encoded, judged.log
    groupings = {judged.group: encoded.group}
    for spec in judged.schema.side("context"):
        column = log.columns[spec.name]
        if isinstance(column, Column) and column.codes is not None and len(column.values) <= _FEW_VALUES:
            groupings[spec.name] = column.codes[judged.rows]
    found: dict[str, Any] = {}
    for name, groups in groupings.items():
        found[name] = {}
        for place, task in enumerate(judged.schema.tasks):
            if task.type != "binary":
                continue
            inside = encoded.masks[:, place]
            scorer = GroupedScorer(
                predictions[task.name][inside], encoded.labels[inside, place], groups[inside]
            )
            interval = scorer.interval(Resamples(encoded.user_number[inside]))
            found[name][task.name] = vars(scorer.found()) | {"interval": interval}
    return found


def _rows(judged: Judged, predictions: Predictions) -> pl.DataFrame:
    data, log, encoded = judged.schema.data, judged.log, judged.encoded
    keys = [name for name in (data.user, data.item, data.time, data.group, judged.group) if name is not None]
    columns: dict[str, Any] = {name: log.frame[name].gather(judged.rows) for name in keys}
    for spec in judged.schema.side("context"):
        columns[spec.name] = to_series(log.columns[spec.name], judged.rows)
    for spec in judged.schema.side("user", "item"):
        if made_of_the_past(judged.schema, spec):  # what the store holds is newer
            columns[spec.name] = to_series(log.columns[spec.name], judged.rows)
    columns["video_len_s"] = judged.video_len_s
    for place, task in enumerate(judged.schema.tasks):
        columns[f"{task.name}_label"] = encoded.labels[:, place]
        columns[f"{task.name}_mask"] = encoded.masks[:, place]
        columns[f"{task.name}_prediction"] = predictions[task.name]
    return pl.DataFrame(columns)

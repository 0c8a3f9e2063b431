"""Evaluation of a bundle on a log: the numbers that serving gives, judged under each task's mask.

Runs the exported network by onnxruntime, so its predictions are those of the service. What the numbers are
made of is in `training/evaluation`; what they mean, in docs/evaluation.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from rich.console import Console
from rich.progress import track

from model.bundle import FP32, Bundle
from model.bundle.inputs import NetworkInputs
from model.bundle.session import NetworkSession
from model.encoding.columns import Column
from model.errors import FulcrumError
from model.fusion import FusionConfig, SceneConfig, check_tasks, load_fusion, score, version
from model.schema import Schema, TaskSpec
from training.datasets import read_source
from training.datasets.source import LogSource
from training.metrics.calibration import by_length, by_prediction, calibration_error
from training.metrics.comparison import compare_task
from training.metrics.ndcg import GroupedNdcg
from training.metrics.resampling import Resamples
from training.metrics.reward import default_reward, rewards
from training.metrics.task_metrics import GroupedScorer, auc, finite, grouped_auc, task_metrics
from training.preparation.columns import to_series
from training.preparation.needed import made_of_the_past
from training.preparation.preparation import PreparedLog, prepare_log, same_rows
from training.rows.batches import EncodedLog
from training.rows.material import encode_rows
from training.threads import usable_cores

__all__ = ["Evaluation", "evaluate_bundle", "predict_log"]

_CHUNK = 4096
_FEW_VALUES = 64
_RANKS = 10

Predictions = Mapping[str, npt.NDArray[np.float32]]


class Evaluation:
    """Metrics of a bundle on some rows, and the rows themselves.

    Attributes:
        report: what `evaluate --json` prints; None for numbers that cannot be computed.
        rows: keys, context, labels, masks and predictions, one row an impression.
    """

    def __init__(self, report: dict[str, Any], rows: pl.DataFrame) -> None:
        self.report = report
        self.rows = rows


@dataclass(frozen=True)
class _Judged:
    """The rows that are judged.

    Attributes:
        schema: of the bundle whose labels count.
        log: all rows.
        rows: the judged ones' places in it.
        encoded: the judged ones, as the network takes them.
        group: the column of `encoded.group`.
    """

    schema: Schema
    log: PreparedLog
    rows: npt.NDArray[np.int64]
    encoded: EncodedLog
    group: str

    @property
    def video_len_s(self) -> npt.NDArray[np.float64]:
        return self.log.video_len_s[self.rows]

    def known(self, place: int) -> npt.NDArray[np.bool_]:
        """Rows whose label is known, inside the task's sample space or not."""
        labels = self.encoded.labels[:, place]
        binary = self.schema.tasks[place].type == "binary"
        return np.isin(labels, (0.0, 1.0)) if binary else np.isfinite(labels)


def evaluate_bundle(
    bundle: Bundle,
    folder: Path | None,
    fusion: Path | None,
    scene: str,
    console: Console,
    *,
    reward: str | None = None,
    against: Bundle | None = None,
    group: str | None = None,
    variant: str = FP32,
) -> Evaluation:
    """Judge a bundle: on the folder it was trained from the validation split, on any other all rows.

    Args:
        bundle: verified.
        folder: `--data`; None where the data set needs none.
        fusion: a fusion config whose score is judged too.
        scene: the scene of it.
        console: where progress goes.
        reward: what the fused score is to collect, over label names; the sum of all labels where None.
        against: another bundle to compare with, verified.
        group: column of the groups within which orders are judged; the schema's where None.
        variant: of the network whose predictions are judged; another bundle's are float32.

    Raises:
        FulcrumError: the data does not fit the bundle's schema, the fusion config its tasks, or the other
            bundle the rows, or the bundle has no such variant.
    """
    schema, network = bundle.schema, bundle.variant_path(variant)
    config = _fusion(bundle, fusion, scene) if fusion is not None else None
    if reward is not None and config is None:
        raise FulcrumError("--reward judges the order of a fused score: give --fusion FILE too")
    source = read_source(schema.data, folder)
    same = source.fingerprint == bundle.manifest.data.get("fingerprint")
    log = prepare_log(schema, source, split=same)
    rows = np.flatnonzero(log.validation) if same else np.arange(len(log))
    if not len(rows):
        raise FulcrumError(f"--data {folder}: there is no row to evaluate")
    if group is not None:
        log = replace(log, group=_numbered(log.frame, group))
    column = group or schema.data.group or schema.data.user
    judged = _Judged(schema, log, rows, encode_rows(bundle.encoder, log, rows), column)
    order = _FusedOrder(judged, config.scenes[scene], reward) if config is not None else None
    console.print(f"Evaluating {'the validation split' if same else 'all rows'}: {len(rows):,} impressions")
    predictions = _predictions(network, judged.encoded, console)
    other = _Other(judged, against, source, folder, console) if against is not None else None
    with console.status("resampling users"):
        report = {
            "bundle": _named(bundle) | {"variant": variant},
            "data": {
                "fingerprint": source.fingerprint,
                "rows": len(rows),
                "split": "validation" if same else "all",
                "group": column,
            },
            "tasks": _tasks(judged, predictions),
            "groups": _groups(judged, predictions),
            "fusion": {},
            "against": {},
        }
        if config is not None and order is not None:
            of_config = {"version": version(config), "source": str(fusion), "scene": scene}
            report["fusion"] = of_config | order.report(predictions)
        if other is not None:
            report["against"] = other.report(predictions, order)
    return Evaluation(finite(report), _rows(judged, predictions))


def predict_log(
    session: NetworkSession, rows: EncodedLog, console: Console
) -> dict[str, npt.NDArray[np.float32]]:
    """Predictions by task, float32 [rows] each."""
    parts: dict[str, list[npt.NDArray[np.float32]]] = {task: [] for task in session.tasks}
    starts = range(0, len(rows), _CHUNK)
    for start in track(
        starts, "predicting", console=console, transient=True, disable=not console.is_terminal
    ):
        part = slice(start, start + _CHUNK)
        user, item = rows.user.take(part), rows.item.take(part)
        for task, values in session.predict(NetworkInputs(user, item, np.arange(len(item)))).items():
            parts[task].append(values)
    return {task: np.concatenate(values) for task, values in parts.items()}


def _named(bundle: Bundle) -> dict[str, str]:
    return {"name": bundle.manifest.name, "version": bundle.version, "path": str(bundle.path)}


def _predictions(network: Path, rows: EncodedLog, console: Console) -> Predictions:
    return predict_log(NetworkSession(network, threads=usable_cores()), rows, console)


def _numbered(frame: pl.DataFrame, column: str) -> npt.NDArray[np.int64]:
    """Group numbers of `--group`; a row without a value is a group of its own."""
    if column not in frame.columns:
        raise FulcrumError(
            f"--group {column}: this column is not in the data; there is {', '.join(frame.columns)}"
        )
    try:
        ranks = frame[column].rank("dense").cast(pl.Int64)
    except pl.exceptions.PolarsError as error:
        raise FulcrumError(
            f"--group {column}: {frame[column].dtype} values cannot name groups; expected ids"
        ) from error
    return np.where(ranks.is_null(), -1 - np.arange(len(ranks)), ranks.fill_null(0))


def _tasks(judged: _Judged, predictions: Predictions) -> dict[str, Any]:
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


def _groups(judged: _Judged, predictions: Predictions) -> dict[str, Any]:
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


def _fusion(bundle: Bundle, path: Path, scene: str) -> FusionConfig:
    config = load_fusion(path)
    check_tasks(config, bundle.task_names)
    if scene not in config.scenes:
        raise FulcrumError(f"--scene {scene}: {path} has the scenes {', '.join(config.scenes)}")
    return config


class _FusedOrder:
    """How well a fused score orders the judged rows: each behaviour, and a reward within groups."""

    def __init__(self, judged: _Judged, scene: SceneConfig, reward: str | None) -> None:
        self.scene = scene
        self._judged = judged
        self._reward = reward or default_reward(judged.schema)
        encoded = judged.encoded
        labels = {
            task.name: np.where(judged.known(place), encoded.labels[:, place], np.nan).astype(np.float64)
            for place, task in enumerate(judged.schema.tasks)
        }
        worth = rewards(self._reward, labels, judged.video_len_s)
        self._known = np.isfinite(worth)
        self._mean_reward = float(worth[self._known].mean()) if self._known.any() else float("nan")
        groups, users = encoded.group[self._known], encoded.user_number[self._known]
        self.ndcg = GroupedNdcg(worth[self._known], groups, users, k=_RANKS)

    def score(self, predictions: Predictions) -> npt.NDArray[np.float64]:
        """The log-score of each judged row."""
        return score(self.scene, predictions, self._judged.video_len_s).log_score

    def of(self, scores: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
        """NDCG of an order of the judged rows in each group."""
        return self.ndcg.of(scores[self._known])

    def report(self, predictions: Predictions) -> dict[str, Any]:
        """The part `fusion` of the report, less what names the config."""
        judged, encoded = self._judged, self._judged.encoded
        fused = self.score(predictions)
        orders = {}
        for place, task in enumerate(judged.schema.tasks):
            if task.type != "binary":
                continue
            inside = encoded.masks[:, place]
            within = grouped_auc(fused[inside], encoded.labels[inside, place], encoded.group[inside])
            orders[task.name] = {
                "auc": auc(fused[inside], encoded.labels[inside, place]),
                "gauc": within.auc,
                "gauc_coverage": within.coverage,
            }
        ndcg, values = self.ndcg, self.of(fused)
        tasks = {}
        for name, prediction in predictions.items():
            alone = self.of(prediction)
            gain = ndcg.compare(values, alone)
            tasks[name] = {
                "ndcg": ndcg.mean(alone),
                "interval": ndcg.interval(alone),
                "fused_less_this": {
                    "difference": gain.difference,
                    "interval": gain.interval,
                    "verdict": gain.verdict,
                },
            }
        return {
            "auc_of_score": orders,
            "ndcg": {
                "reward": self._reward,
                "mean_reward": self._mean_reward,
                "k": _RANKS,
                "group": judged.group,
                "groups": ndcg.groups,
                "rows": ndcg.rows,
                "coverage": ndcg.rows / len(fused),
                "fused": {"ndcg": ndcg.mean(values), "interval": ndcg.interval(values)},
                "tasks": tasks,
                "random": ndcg.of_chance(),
            },
        }


class _Other:
    """Another bundle's predictions of the judged rows, for a paired comparison.

    Raises:
        FulcrumError: it has no task in common, or it reads other rows.
    """

    def __init__(
        self, judged: _Judged, bundle: Bundle, source: LogSource, folder: Path | None, console: Console
    ) -> None:
        self._judged, self._bundle = judged, bundle
        self._notes: list[str] = []
        schema = bundle.schema
        self._shared = self._shared_tasks()
        if schema.data != judged.schema.data:
            source = read_source(schema.data, folder)
        its_own = source.fingerprint == bundle.manifest.data.get("fingerprint")
        log = prepare_log(schema, source, split=its_own)
        if not same_rows(judged.schema, judged.log, schema, log):
            raise FulcrumError(
                f"--against {bundle.path}: it reads other rows from this data "
                f"({len(log):,} against {len(judged.log):,}, or in another order); "
                "to be compared, both need the same reader, options, keep, user, item and time"
            )
        self._trained_on = int(log.train[judged.rows].sum())
        if self._trained_on:
            self._notes.append(
                f"{bundle.path} was trained on {self._trained_on:,} of these rows, which flatters it"
            )
        self._note_other_labels(log)
        console.print(f"Comparing with {bundle.path}")
        self._predictions = _predictions(
            bundle.network_path, encode_rows(bundle.encoder, log, judged.rows), console
        )

    def report(self, predictions: Predictions, order: _FusedOrder | None) -> dict[str, Any]:
        """The part `against` of the report."""
        encoded, tasks = self._judged.encoded, {}
        for place, task in enumerate(self._judged.schema.tasks):
            if task.name not in self._shared:
                continue
            inside = encoded.masks[:, place]
            compared = compare_task(
                task.type,
                predictions[task.name][inside],
                self._predictions[task.name][inside],
                encoded.labels[inside, place],
                encoded.group[inside],
                encoded.user_number[inside],
            )
            tasks[task.name] = {metric: found.report() for metric, found in compared.items()}
        fusion: dict[str, Any] = {}
        if order is not None:
            absent = [task for task in order.scene.tasks if task not in self._predictions]
            if absent:
                self._notes.append(f"no fused score of {self._bundle.path}: it has no task {absent[0]!r}")
            else:
                values = (order.of(order.score(each)) for each in (predictions, self._predictions))
                fusion["ndcg"] = order.ndcg.compare(*values).report()
        return {
            "bundle": _named(self._bundle),
            "rows": len(encoded),
            "trained_on": self._trained_on,
            "tasks": tasks,
            "fusion": fusion,
            "notes": self._notes,
        }

    def _shared_tasks(self) -> list[str]:
        ours = {task.name: task.type for task in self._judged.schema.tasks}
        theirs = {task.name: task.type for task in self._bundle.schema.tasks}
        shared = [name for name, kind in ours.items() if theirs.get(name) == kind]
        if not shared:
            raise FulcrumError(
                f"--against {self._bundle.path}: no task in common: it has {', '.join(theirs)}, "
                f"the bundle {', '.join(ours)}"
            )
        alone = [name for name in ours | theirs if name not in shared]
        if alone:
            self._notes.append(f"not compared, since only one bundle has it so: {', '.join(alone)}")
        return shared

    def _note_other_labels(self, log: PreparedLog) -> None:
        encoded, rows, names = self._judged.encoded, self._judged.rows, self._judged.schema.task_names
        for name in self._shared:
            place, its = names.index(name), self._bundle.schema.task_names.index(name)
            mask, labels = encoded.masks[:, place], encoded.labels[:, place]
            its_mask, its_labels = log.masks[rows, its], log.labels[rows, its]
            if not (np.array_equal(mask, its_mask) and np.array_equal(labels[mask], its_labels[mask])):
                self._notes.append(
                    f"{self._bundle.path} means something else by {name!r}: other labels or another sample "
                    "space; both are judged by the first bundle's"
                )


def _rows(judged: _Judged, predictions: Predictions) -> pl.DataFrame:
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

"""Evaluation of a bundle on a log: the numbers that serving gives, judged under each task's mask.

Runs the exported network by onnxruntime, so its predictions are those of the service.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from rich.console import Console
from rich.progress import track

from model.bundle import Bundle
from model.errors import FulcrumError
from model.fusion import check_tasks, load_fusion, score, version
from model.inference import NetworkInputs, NetworkSession
from model.schema import Schema
from training.datasets import read_source
from training.metrics import auc, grouped_auc, task_metrics
from training.preparation import PreparedLog, prepare_log
from training.threads import usable_cores
from training.trainer import EncodedLog

__all__ = ["Evaluation", "evaluate_bundle", "predict_log"]

_CHUNK = 4096
_FEW_VALUES = 64


class Evaluation:
    """Metrics of a bundle on some rows, and the rows themselves.

    Attributes:
        report: what `evaluate --json` prints.
        rows: keys, context, labels, masks and predictions, one row an impression.
    """

    def __init__(self, report: dict[str, Any], rows: pl.DataFrame) -> None:
        self.report = report
        self.rows = rows


def evaluate_bundle(
    bundle: Bundle, folder: Path | None, fusion: Path | None, scene: str, console: Console
) -> Evaluation:
    """Judge a bundle: on the folder it was trained from the validation split, on any other all rows.

    Args:
        bundle: verified.
        folder: `--data`; None where the data set needs none.
        fusion: a fusion config whose score is judged too.
        scene: the scene of it.
        console: where progress goes.

    Raises:
        FulcrumError: the data does not fit the bundle's schema, or the fusion config its tasks.
    """
    schema = bundle.schema
    source = read_source(schema.data, folder)
    same = source.fingerprint == bundle.manifest.data.get("fingerprint")
    log = prepare_log(schema, source, split=same)
    judged = np.flatnonzero(log.validation) if same else np.arange(len(log))
    if not len(judged):
        raise FulcrumError(f"--data {folder}: there is no row to evaluate")
    console.print(f"Evaluating {'the validation split' if same else 'all rows'}: {len(judged):,} impressions")
    user, item = bundle.encoder.encode(log.columns, len(log))
    encoded = EncodedLog(user, item, log.labels, log.masks, log.group, log.user)
    rows = np.zeros(len(log), bool)
    rows[judged] = True
    encoded = encoded.take(rows)
    predictions = predict_log(NetworkSession(bundle.network_path, threads=usable_cores()), encoded, console)
    tasks: dict[str, Any] = {}
    for place, task in enumerate(schema.tasks):
        inside = encoded.masks[:, place]
        tasks[task.name] = task_metrics(
            task.type,
            predictions[task.name][inside],
            encoded.labels[inside, place],
            encoded.group[inside],
            encoded.user_number[inside],
        )
    report = {
        "bundle": {"name": bundle.manifest.name, "version": bundle.version, "path": str(bundle.path)},
        "data": {
            "fingerprint": source.fingerprint,
            "rows": len(judged),
            "split": "validation" if same else "all",
        },
        "tasks": tasks,
        "groups": _groups(schema, log, judged, encoded, predictions),
        "fusion": {},
    }
    if fusion is not None:
        report["fusion"] = _fused(bundle, fusion, scene, log.video_len_s[judged], encoded, predictions)
    return Evaluation(report, _rows(schema, log, judged, encoded, predictions))


def predict_log(
    session: NetworkSession, rows: EncodedLog, console: Console
) -> dict[str, npt.NDArray[np.float32]]:
    """Predictions by task, float32 [rows] each."""
    parts: dict[str, list[npt.NDArray[np.float32]]] = {task: [] for task in session.tasks}
    starts = range(0, len(rows), _CHUNK)
    for start in track(starts, "predicting", console=console, transient=True):
        part = slice(start, start + _CHUNK)
        user, item = rows.user.take(part), rows.item.take(part)
        for task, values in session.predict(NetworkInputs(user, item, np.arange(len(item)))).items():
            parts[task].append(values)
    return {task: np.concatenate(values) for task, values in parts.items()}


def _groups(
    schema: Schema,
    log: PreparedLog,
    judged: npt.NDArray[np.int64],
    encoded: EncodedLog,
    predictions: dict[str, npt.NDArray[np.float32]],
) -> dict[str, Any]:
    """AUC within the declared groups and within each value of a context feature of few values."""
    groupings = {schema.data.group or schema.data.user: encoded.group}
    for spec in schema.side("context"):
        column = log.columns[spec.name]
        if column.codes is not None and len(column.values) <= _FEW_VALUES:
            groupings[spec.name] = column.codes[judged]
    found: dict[str, Any] = {}
    for name, groups in groupings.items():
        found[name] = {}
        for place, task in enumerate(schema.tasks):
            if task.type != "binary":
                continue
            inside = encoded.masks[:, place]
            within = grouped_auc(
                predictions[task.name][inside], encoded.labels[inside, place], groups[inside]
            )
            found[name][task.name] = vars(within)
    return found


def _fused(
    bundle: Bundle,
    path: Path,
    scene: str,
    video_len_s: npt.NDArray[np.float64],
    encoded: EncodedLog,
    predictions: dict[str, npt.NDArray[np.float32]],
) -> dict[str, Any]:
    """How well the fused score orders each behaviour, pooled and within groups."""
    config = load_fusion(path)
    check_tasks(config, bundle.task_names)
    if scene not in config.scenes:
        raise FulcrumError(f"--scene {scene}: {path} has the scenes {', '.join(config.scenes)}")
    fused = score(config.scenes[scene], predictions, video_len_s).log_score
    orders = {}
    for place, task in enumerate(bundle.schema.tasks):
        if task.type != "binary":
            continue
        inside = encoded.masks[:, place]
        within = grouped_auc(fused[inside], encoded.labels[inside, place], encoded.group[inside])
        orders[task.name] = {
            "auc": auc(fused[inside], encoded.labels[inside, place]),
            "gauc": within.auc,
            "gauc_coverage": within.coverage,
        }
    return {"version": version(config), "source": str(path), "scene": scene, "auc_of_score": orders}


def _rows(
    schema: Schema,
    log: PreparedLog,
    judged: npt.NDArray[np.int64],
    encoded: EncodedLog,
    predictions: dict[str, npt.NDArray[np.float32]],
) -> pl.DataFrame:
    data = schema.data
    keys = [name for name in (data.user, data.item, data.time, data.group) if name is not None]
    columns: dict[str, Any] = {name: log.frame[name].gather(judged) for name in keys}
    for spec in schema.side("context"):
        column = log.columns[spec.name]
        codes = judged if column.codes is None else column.codes[judged]
        columns[spec.name] = pl.Series(column.values).gather(codes)
    columns["video_len_s"] = log.video_len_s[judged]
    for place, task in enumerate(schema.tasks):
        columns[f"{task.name}_label"] = encoded.labels[:, place]
        columns[f"{task.name}_mask"] = encoded.masks[:, place]
        columns[f"{task.name}_prediction"] = predictions[task.name]
    return pl.DataFrame(columns)

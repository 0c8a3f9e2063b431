"""Analysis: what the runs say, network by network and against one another.

From records and kept predictions to what `report.json` holds. Knows neither how runs were made nor pictures.

Shapes: n validation rows, T tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from model.network.heads import TaskHead
from training.metrics.calibration import by_prediction, calibration_error
from training.report.findings.findings import findings
from training.report.findings.gains import Score, TaskRows, gain
from training.report.findings.utilisation import over_seeds
from training.report.plan import SINGLE

_Scores = dict[str, dict[int, Score]]


@dataclass(frozen=True)
class Facts:
    """What the analysis needs beside the runs.

    Attributes:
        heads: of the tasks.
        labels, masks: of the validation rows, [n, T].
        users: number of each row's user, [n].
        seeds, networks: what was to be trained.
        own: the recipe's own network, None where it is not part of the report.
        compare: further pairs.
    """

    heads: tuple[TaskHead, ...]
    labels: npt.NDArray[np.float32]
    masks: npt.NDArray[np.bool_]
    users: npt.NDArray[np.int64]
    seeds: tuple[int, ...]
    networks: tuple[str, ...]
    own: str | None
    compare: tuple[tuple[str, str], ...]


def analyse(
    facts: Facts,
    records: Mapping[str, Mapping[str, Any]],
    predictions: Callable[[str], npt.NDArray[np.float32]],
    costs: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Everything that the report says.

    Args:
        facts: tasks, rows, networks and seeds.
        records: of the runs that ended, by name.
        predictions: of a finished run, by name, [n, T].
        costs: what each network is and costs.
    """
    finished = {
        name: {
            seed: records[run]
            for seed in facts.seeds
            if (run := f"{name}-seed{seed}") in records and records[run]["status"] == "finished"
        }
        for name in facts.networks
    }
    tasks, metrics, calibration = [], dict[str, _Scores](), dict[str, dict[str, Any]]()
    rows_of = {}
    for place, head in enumerate(facts.heads):
        inside = facts.masks[:, place]
        rows = TaskRows(head.kind, facts.labels[inside, place], facts.users[inside])
        rows_of[head.name] = rows
        told = {"name": head.name, "kind": head.kind, "metric": rows.metric, "rows": len(rows.labels)}
        if head.kind == "binary":
            told["positives"] = int((rows.labels > 0.5).sum())
        tasks.append({**told, "users": len(np.unique(rows.users)), "intervals": rows.enough})
        metrics[head.name], calibration[head.name] = {}, {}
        for name, runs in finished.items():
            judged = {seed: predictions(f"{name}-seed{seed}")[inside, place] for seed in runs}
            metrics[head.name][name] = {seed: rows.score(found) for seed, found in judged.items()}
            if judged:
                calibration[head.name][name] = _calibration(head.kind, rows, list(judged.values()))

    def against(name: str, other: str) -> dict[str, Any]:
        found = {}
        for task, rows in rows_of.items():
            ours, theirs = metrics[task][name], metrics[task][other]
            both = [seed for seed in facts.seeds if seed in ours and seed in theirs]
            found[task] = gain(rows, [ours[s] for s in both], [theirs[s] for s in both]).report()
        return found

    networks = {}
    for name, runs in finished.items():
        networks[name] = {
            **costs[name],
            "runs": [_outcome(name, seed, records) for seed in facts.seeds],
            "metrics": {task: _summary(metrics[task][name]) for task in rows_of},
            "gains": None if name == SINGLE else against(name, SINGLE),
            "against_own": None if facts.own in (None, name) else against(name, str(facts.own)),
            "training_seconds": _mean([run["training_seconds"] for run in runs.values()]),
            "inference_us": _mean([run["inference_us"] for run in runs.values()]),
            "parameters_with_inputs": _mean([run["parameters_with_inputs"] for run in runs.values()]),
            "utilisation": over_seeds([run["utilisation"] for run in runs.values()], list(rows_of))
            if name != SINGLE
            else None,
            "curves": _curves(
                list(runs.values()), list(rows_of), {task: r.metric for task, r in rows_of.items()}
            ),
            "calibration": {task: calibration[task].get(name) for task in rows_of},
        }
    found = {
        "tasks": tasks,
        "networks": networks,
        "comparisons": [
            {"model": ours, "against": theirs, "tasks": against(ours, theirs)}
            for ours, theirs in facts.compare
        ],
    }
    return {"findings": findings(found, own=facts.own, seeds=len(facts.seeds)), **found}


def _outcome(name: str, seed: int, records: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    record = records.get(f"{name}-seed{seed}")
    if record is None:
        return {"seed": seed, "status": "missing", "reason": "it left no record"}
    return {key: record[key] for key in ("seed", "status", "reason")}


def _summary(scores: Mapping[int, Score]) -> dict[str, Any]:
    values = [score.value for score in scores.values()]
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {
        "mean": _mean(values),
        "deviation": deviation,
        "by_seed": {str(s): v.value for s, v in scores.items()},
    }


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _calibration(kind: str, rows: TaskRows, predicted: Sequence[npt.NDArray[np.float32]]) -> dict[str, Any]:
    """In deciles over the rows of all seeds: a user is one however many seeds judged their rows."""
    seeds = len(predicted)
    bins = by_prediction(
        kind, np.concatenate(predicted), np.tile(rows.labels, seeds), np.tile(rows.users, seeds)
    )
    return {"error": calibration_error(bins), "deciles": bins}


def _curves(
    runs: Sequence[Mapping[str, Any]], tasks: Sequence[str], metric_of: Mapping[str, str]
) -> dict[str, Any]:
    """By task: training loss and validation metric by epoch, mean and range over the seeds that got there."""
    found = {}
    for task in tasks:
        curves = [curve for run in runs for curve in run["curves"] if task in curve["tasks"]]
        longest = max((len(curve["epochs"]) for curve in curves), default=0)
        found[task] = {
            "loss": _band(curves, longest, lambda epoch, task=task: epoch["task_losses"][task]),  # type: ignore[misc]
            "metric": _band(
                curves,
                longest,
                lambda epoch, task=task: epoch["validation"][task][metric_of[task]],  # type: ignore[misc]
            ),
        }
    return found


def _band(
    curves: Sequence[Mapping[str, Any]], epochs: int, value: Callable[[Mapping[str, Any]], float | None]
) -> list[dict[str, Any]]:
    band = []
    for place in range(epochs):
        reached = [value(curve["epochs"][place]) for curve in curves if len(curve["epochs"]) > place]
        values = [each for each in reached if each is not None]
        if values:
            band.append(
                {
                    "epoch": place + 1,
                    "mean": float(np.mean(values)),
                    "low": float(np.min(values)),
                    "high": float(np.max(values)),
                    "seeds": len(values),
                }
            )
    return band

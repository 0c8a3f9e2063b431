"""The regression gate: a bundle that is surely worse than the one in service is not written.

Both are judged on the same held-out rows, paired, users resampled. A metric fails where the new bundle is
worse by more than its margin and the interval of the difference says that it is worse at all: a fall that
matters and is no chance. It fails, too, where it cannot be computed for the new bundle alone. Knows nothing
of how the new network was trained.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.bundle import Bundle
from model.bundle.session import NetworkSession
from model.cores import available_cores
from model.errors import FulcrumError
from model.network.network import RankingNetwork
from model.schema import Schema
from training.evaluation.predicting import predict_log
from training.fitting.trainer import predict_rows
from training.metrics.comparison import Difference, compare_task
from training.preparation.preparation import same_rows
from training.progress import Event, Observer, silent
from training.rows.batches import EncodedLog
from training.rows.material import Material


@dataclass(frozen=True)
class RegressionGate:
    """The outcome, metric by metric.

    Attributes:
        bundle: version of the one that was compared with.
        found: by `TASK.METRIC`.
        margins: of the same.
    """

    bundle: str
    found: Mapping[str, Difference]
    margins: Mapping[str, float]

    def failures(self) -> list[str]:
        """The metrics that fail, and why."""
        failed = []
        for name, found in self.found.items():
            if not math.isfinite(found.value) and math.isfinite(found.other):
                failed.append(
                    f"{name} is {found.value} against {found.other:.4f}: predictions are no numbers"
                )
                continue
            fall = -found.difference if found.higher_is_better else found.difference
            if found.verdict == "worse" and fall > self.margins[name]:
                low, high = found.interval
                failed.append(
                    f"{name} {found.value:.4f} against {found.other:.4f} "
                    f"(difference {found.difference:+.4f} [{low:+.4f}, {high:+.4f}], "
                    f"margin {self.margins[name]:g})"
                )
        return failed

    def report(self) -> dict[str, Any]:
        """For the manifest."""
        metrics = {
            name: found.report() | {"margin": self.margins[name]} for name, found in self.found.items()
        }
        return {"against": self.bundle, "passed": not self.failures(), "metrics": metrics}


@dataclass(frozen=True)
class GateJudged(Event):
    """A trained network was compared with a bundle.

    Attributes:
        gate: what came of it.
        path: of the bundle.
    """

    gate: RegressionGate
    path: Path


def pass_gate(
    network: RankingNetwork,
    material: Material,
    bundle: Bundle,
    margins: Mapping[str, float],
    observer: Observer = silent,
) -> RegressionGate:
    """Compare a trained network with a bundle on the validation rows.

    Args:
        network: trained on `material`.
        material: what it was trained on.
        bundle: that it must not be worse than.
        margins: as `TrainingConfig.gate` has them.
        observer: called with `Advanced` and `GateJudged`.

    Raises:
        FulcrumError: the bundle reads other rows from this data, or shares no task.
    """
    schema = material.encoder.schema
    check_comparable(schema, bundle)
    parts: list[EncodedLog] = []
    theirs: dict[str, list[Any]] = {}
    session = NetworkSession(bundle.network_path, threads=available_cores())
    for log, other in material.held_out(bundle.schema):
        if not same_rows(schema, log, bundle.schema, other):
            raise FulcrumError(
                f"cannot compare with {bundle.path}: it reads other rows from this data; both need the "
                "same reader, options, keep, user, item and time"
            )
        user, item = bundle.encoder.encode(other.columns, len(other))
        rows = EncodedLog(user, item, log.labels, log.masks, log.group, log.user).take(log.validation)
        for name, values in predict_log(session, rows, observer).items():
            theirs.setdefault(name, []).append(values)
        parts.append(rows)
    labels, masks, groups, users = (
        np.concatenate([getattr(part, array) for part in parts])
        for array in ("labels", "masks", "group", "user_number")
    )
    ours = predict_rows(network, material.validation)
    kinds = {task.name: task.type for task in bundle.schema.tasks}
    found: dict[str, Difference] = {}
    held_to: dict[str, float] = {}
    for place, task in enumerate(schema.tasks):
        if kinds.get(task.name) != task.type:
            continue
        inside = masks[:, place]
        compared = compare_task(
            task.type,
            ours[inside, place],
            np.concatenate(theirs[task.name])[inside],
            labels[inside, place],
            groups[inside],
            users[inside],
        )
        for metric, margin in _margins(margins, task.name, task.type).items():
            found[f"{task.name}.{metric}"] = compared[metric]
            held_to[f"{task.name}.{metric}"] = margin
    gate = RegressionGate(bundle.version, found, held_to)
    observer(GateJudged(gate, bundle.path))
    return gate


def check_comparable(schema: Schema, bundle: Bundle) -> None:
    """Refuse a bundle that shares no task with what is trained; reads no data."""
    theirs = {task.name: task.type for task in bundle.schema.tasks}
    if not any(theirs.get(task.name) == task.type for task in schema.tasks):
        raise FulcrumError(
            f"cannot compare with {bundle.path}: no task in common: it has {', '.join(theirs)}, "
            f"the recipe {', '.join(schema.task_names)}"
        )


def _margins(margins: Mapping[str, float], task: str, kind: str) -> dict[str, float]:
    """The metrics that a task is held to."""
    named = {
        name.partition(".")[2]: margin for name, margin in margins.items() if name.partition(".")[0] == task
    }
    return named or {"auc" if kind == "binary" else "mse": 0.0}

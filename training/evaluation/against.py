"""Against another bundle: both on the same rows, pair by pair."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from model.bundle import Bundle
from model.errors import FulcrumError
from model.schema import Schema
from training.datasets import read_source
from training.datasets.served import over_what_was_served
from training.datasets.source import LogSource
from training.evaluation.fused_order import FusedOrder
from training.evaluation.judged import Judged, Predictions
from training.evaluation.predicting import bundle_predictions, named
from training.metrics.comparison import compare_task
from training.preparation.preparation import PreparedLog, prepare_log, same_rows
from training.progress import Observer, Stage
from training.rows.material import encode_rows


def shared_tasks(schema: Schema, other: Bundle) -> tuple[list[str], list[str]]:
    """Names of the tasks that both have as tasks of one type, and of those that only one has; reads no data.

    Args:
        schema: of the bundle that is judged.
        other: the bundle that it is compared with.

    Raises:
        FulcrumError: they share none.
    """
    ours = {task.name: task.type for task in schema.tasks}
    theirs = {task.name: task.type for task in other.schema.tasks}
    shared = [name for name, kind in ours.items() if theirs.get(name) == kind]
    if not shared:
        raise FulcrumError(
            f"comparison with {other.path}: no task in common: it has {', '.join(theirs)}, "
            f"the bundle {', '.join(ours)}"
        )
    return shared, [name for name in ours | theirs if name not in shared]


class OtherBundle:
    """Another bundle's predictions of the judged rows, for a paired comparison.

    Raises:
        FulcrumError: it has no task in common, or it reads other rows.
    """

    def __init__(
        self, judged: Judged, bundle: Bundle, source: LogSource, folder: Path | None, observer: Observer
    ) -> None:
        self._judged, self._bundle = judged, bundle
        self._notes: list[str] = []
        schema = over_what_was_served(bundle.schema, judged.schema)
        self._shared, alone = shared_tasks(judged.schema, bundle)
        if alone:
            self._notes.append(f"not compared, since only one bundle has it so: {', '.join(alone)}")
        ours = judged.schema
        if schema.data != ours.data or schema.id_columns() != ours.id_columns():
            source = read_source(schema, folder)
        its_own = source.fingerprint == bundle.manifest.data.get("fingerprint")
        log = prepare_log(schema, source, split=its_own)
        if not same_rows(judged.schema, judged.log, schema, log):
            raise FulcrumError(
                f"comparison with {bundle.path}: it reads other rows from this data "
                f"({len(log):,} against {len(judged.log):,}, or in another order); "
                "to be compared, both need the same reader, options, keep, user, item and time"
            )
        self._trained_on = int(log.train[judged.rows].sum())
        if self._trained_on:
            self._notes.append(
                f"{bundle.path} was trained on {self._trained_on:,} of these rows, which flatters it"
            )
        self._note_other_labels(log)
        observer(Stage(f"Comparing with {bundle.path}"))
        self._predictions = bundle_predictions(
            bundle.network_path, encode_rows(bundle.encoder, log, judged.rows), observer
        )

    def report(self, predictions: Predictions, order: FusedOrder | None) -> dict[str, Any]:
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
            "bundle": named(self._bundle),
            "rows": len(encoded),
            "trained_on": self._trained_on,
            "tasks": tasks,
            "fusion": fusion,
            "notes": self._notes,
        }

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

"""One run: a network trained once with one seed, judged, looked into, and written down.

Happens in a process of its own, with one thread. A single-task run is several trainings, one a task; every
other run is one. Knows neither the other runs nor what is made of them.

Shapes: n validation rows, T tasks.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch

from model.files import fresh_file, replace_file
from model.network.config import TrunkConfig
from model.network.embedding import SideSpec
from model.network.heads import TaskHead
from model.network.network import RankingNetwork
from training.fitting.network import seeded_network
from training.fitting.trainer import EpochDone, FitPlan, StepDone, fit, predict_rows
from training.metrics.task_metrics import finite, task_metrics
from training.progress import Event
from training.recipe import TrainingConfig
from training.report.budget import Budget
from training.report.findings.utilisation import Watch
from training.report.rows import of_places
from training.rows.batches import EncodedLog

_TIMED_ROWS = 500
_TIMED_TIMES = 15


@dataclass(frozen=True)
class Part:
    """One training of a run.

    Attributes:
        places: columns of the tasks it learns, among the report's.
        training: how it is trained: one thread, the run's seed.
        weights: of these tasks in the joint loss.
    """

    places: tuple[int, ...]
    training: TrainingConfig
    weights: tuple[float, ...]


@dataclass(frozen=True)
class Job:
    """A run to carry out.

    Attributes:
        model: the network as the report names it.
        seed: of this run.
        network: its config, widths matched.
        budget: what its trunk costs.
        parts: one for each training.
        heads: of all tasks of the report.
        user, item: the input layers.
        minutes: it may take, all parts together.
        folder: where its record goes.
    """

    model: str
    seed: int
    network: TrunkConfig
    budget: Budget
    parts: tuple[Part, ...]
    heads: tuple[TaskHead, ...]
    user: SideSpec
    item: SideSpec
    minutes: float
    folder: Path

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{self.model}-seed{self.seed}"

    @property
    def settings(self) -> dict[str, Any]:
        """What its outcome depends on, beside the data."""
        return {
            "network": self.network.model_dump(mode="json"),
            "trainings": [
                {"tasks": [self.heads[place].name for place in part.places], **_plain(part.training)}
                for part in self.parts
            ],
        }


class _StoppedError(Exception):
    """The training cannot go on: what is to be written as its status, and why."""


def paths(folder: Path, name: str) -> tuple[Path, Path]:
    """Of a run's record and of its predictions."""
    return folder / f"{name}.json", folder / f"{name}.npz"


def carry_out(
    job: Job, train: EncodedLog, validation: EncodedLog, on_progress: Callable[[float], None]
) -> dict[str, Any]:
    """Train, judge and write: predictions first, then the record, which says that the run is done.

    Args:
        job: what to train.
        train, validation: rows with all the report's tasks.
        on_progress: called with the share that is done.

    Returns:
        The record. A run that fails says so in its `status` and raises nothing.
    """
    began = time.monotonic()
    record: dict[str, Any] = {
        "model": job.model,
        "seed": job.seed,
        "status": "finished",
        "reason": None,
        "minutes": job.minutes,
        "settings": job.settings,
        "budget": {"parameters": job.budget.parameters, "flops": job.budget.flops},
        "curves": [],
    }
    predictions = np.full(validation.labels.shape, np.nan, np.float32)
    found: dict[str, Any] = {"parameters_with_inputs": 0, "training_seconds": 0.0, "inference_us": 0.0}
    watched: list[dict[str, Any]] = []
    try:
        for number, part in enumerate(job.parts):

            def on_step(share: float, number: int = number) -> None:
                if time.monotonic() - began > 60 * job.minutes:
                    raise _StoppedError("stopped", f"over its {job.minutes:g} minutes after {share:.0%}")
                on_progress((number + share) / len(job.parts))

            curve: dict[str, Any] = {"tasks": [job.heads[place].name for place in part.places], "epochs": []}
            record["curves"].append(curve)
            network, seconds = _train(job, part, train, validation, curve, on_step)
            with Watch(network.trunk) as watch:
                judged = predict_rows(network, of_places(validation, part.places))
            if not np.isfinite(judged).all():
                raise _StoppedError("diverged", "it predicts what is no number")
            predictions[:, list(part.places)] = judged
            watched.append(watch.found())
            found["parameters_with_inputs"] += sum(each.numel() for each in network.parameters())
            found["training_seconds"] += seconds
            found["inference_us"] += _inference_us(network, validation)
    except _StoppedError as stop:
        record["status"], record["reason"] = stop.args
    except Exception as error:  # whatever a network raises, the others go on
        record["status"], record["reason"] = "failed", f"{type(error).__name__}: {error}".splitlines()[0]
    if record["status"] == "finished":
        record |= found
        record["metrics"] = _metrics(job, predictions, validation)
        record["utilisation"] = {key: [one for each in watched for one in each[key]] for key in watched[0]}
    _write(job, record, predictions)
    return record


def _train(
    job: Job,
    part: Part,
    train: EncodedLog,
    validation: EncodedLog,
    curve: dict[str, Any],
    on_share: Callable[[float], None],
) -> tuple[RankingNetwork, float]:
    began = time.monotonic()
    heads = [job.heads[place] for place in part.places]
    network = seeded_network(job.network, part.training, job.user, job.item, heads)

    def watch(event: Event) -> None:
        match event:
            case StepDone(epoch=epoch, loss=loss):
                if not math.isfinite(loss):
                    raise _StoppedError("diverged", f"the loss is no number in epoch {epoch}")
                on_share((epoch - 1 + event.rows / event.total_rows) / event.epochs)
            case EpochDone(report):
                curve["epochs"].append(finite(vars(report)))

    own = [of_places(split, part.places) for split in (train, validation)]
    trained = fit(network, FitPlan(part.training, part.weights, own[0], own[1]), watch)
    curve["best_epoch"] = trained.best.epoch
    return trained.network, time.monotonic() - began


def _inference_us(network: RankingNetwork, validation: EncodedLog) -> float:
    """Microseconds a row of the whole network in batches of 500, one thread: the median of several."""
    batch = next(validation.slices(_TIMED_ROWS)).on(network.base.device)
    seconds = []
    with torch.inference_mode():
        for _ in range(_TIMED_TIMES):
            began = time.perf_counter()
            network.predictions(*batch.inputs).cpu()
            seconds.append(time.perf_counter() - began)
    return 1e6 * statistics.median(seconds) / len(batch)


def _metrics(job: Job, predictions: Any, validation: EncodedLog) -> dict[str, Any]:
    found = {}
    for place, head in enumerate(job.heads):
        rows = validation.masks[:, place]
        labels = np.asarray(validation.labels[rows, place])
        found[head.name] = finite(
            task_metrics(head.kind, predictions[rows, place], labels, validation.group[rows])
        )
    return found


def _plain(training: TrainingConfig) -> dict[str, Any]:
    return training.model_dump(mode="json", exclude={"tensorboard", "checkpoint_seconds", "gate"})


def _write(job: Job, record: dict[str, Any], predictions: Any) -> None:
    said, predicted = paths(job.folder, job.name)
    job.folder.mkdir(parents=True, exist_ok=True)
    if record["status"] == "finished":
        with fresh_file(predicted) as fresh, fresh.open("wb") as file:
            np.savez_compressed(file, predictions=predictions)
    options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY
    replace_file(said, orjson.dumps(finite(record), option=options))

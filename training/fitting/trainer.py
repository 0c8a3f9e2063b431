"""Trainer: encoded rows and a network in, the best epoch's weights out.

One loop for every network: it knows the joint loss and the metrics, and neither features nor files.

Shapes: B rows of a batch, T tasks.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from model.errors import FulcrumError
from model.network.network import RankingNetwork
from model.network.thresholds import Ordinal
from training.fitting.device import random_state, return_to_random_state
from training.fitting.loss_weights import task_weights
from training.fitting.optimizer import rate_share
from training.fitting.ordinal_tables import fit_tables
from training.fitting.step import Step
from training.metrics.task_metrics import task_metrics
from training.progress import Event, Observer, silent
from training.recipe import TrainingConfig
from training.rows.batches import Batch, JudgedRows, TrainingRows

_JUDGED_ROWS = 8192
_RAREST = 1e-5
_FITTED_ROWS = 1 << 18

Checkpoint = Mapping[str, Any]
"""A training between two steps, as tensors and plain values: what `fit` hands out and goes on from."""


@dataclass(frozen=True)
class EpochReport:
    """One epoch: mean training losses, validation metrics, and whether it is the best so far.

    Attributes:
        epoch: counted from 1.
        loss: the joint loss, as it was optimised.
        task_losses: each task's loss before weighting.
        loss_weights: what each task weighs at the epoch's end.
        validation: metrics by task.
        monitored: the value that chooses the best epoch.
        best: whether it is the best so far.
    """

    epoch: int
    loss: float
    task_losses: dict[str, float]
    loss_weights: dict[str, float]
    validation: dict[str, dict[str, Any]]
    monitored: float
    best: bool


@dataclass(frozen=True)
class StepDone(Event):
    """A step is done.

    Attributes:
        step: counted from 1 over all epochs.
        epoch, epochs: the epoch, counted from 1, of at most so many.
        rows, total_rows: the epoch's rows that are done, of so many.
        batch: rows of this step.
        loss: the joint loss of its batch.
        learning_rate: that it was taken with.
    """

    step: int
    epoch: int
    epochs: int
    rows: int
    total_rows: int
    batch: int
    loss: float
    learning_rate: float


@dataclass(frozen=True)
class EpochDone(Event):
    """An epoch is done and judged.

    Attributes:
        report: what came of it.
        best_weights: the weights where it is the best so far, else nothing.
    """

    report: EpochReport
    best_weights: Mapping[str, Tensor] = field(repr=False)


@dataclass(frozen=True)
class CheckpointDue(Event):
    """Happens every `TrainingConfig.checkpoint_seconds` and after each epoch.

    Attributes:
        state: all that it takes to go on from here. It shares the training's memory: to be written or copied
            before the observer returns.
    """

    state: Checkpoint = field(repr=False)


@dataclass(frozen=True)
class FitPlan:
    """What a network is fitted to, and how.

    Attributes:
        config: how to train.
        weights: of the tasks in the joint loss, [T], before what `config.loss_weights` makes of them.
        train, validation: rows of the two splits.
        warm: whether the network was trained before, and keeps its base rates.
    """

    config: TrainingConfig
    weights: Sequence[float]
    train: TrainingRows
    validation: JudgedRows
    warm: bool = False


@dataclass(frozen=True)
class Trained:
    """The outcome: the network holds the best epoch's weights."""

    network: RankingNetwork
    best: EpochReport
    epochs: list[EpochReport] = field(default_factory=list)


def fit(
    network: RankingNetwork,
    plan: FitPlan,
    observer: Observer = silent,
    *,
    resume: Checkpoint | None = None,
) -> Trained:
    """Train until the monitored metric no longer improves; the network ends with its best weights.

    It is trained where it lies, and ends on the CPU.

    A training that starts from another's checkpoint, with the same arguments and as many threads, ends with
    the weights that the other would have ended with: on a CPU bit for bit; on a GPU, which sums in any order,
    nearly.

    Args:
        network: its heads name the tasks.
        plan: what it is fitted to, and how.
        observer: called with `StepDone`, `EpochDone` and `CheckpointDue`.
        resume: a checkpoint to go on from, in place of the beginning.

    Raises:
        FulcrumError: the checkpoint is of another network.
    """
    if not plan.warm:
        base = torch.cat(_base(network, plan.train))
        network.base[: len(base)].copy_(base)
    training = _Training(network, plan)
    if resume is not None:
        try:
            training.restore(resume)
        except (KeyError, RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise FulcrumError(f"the checkpoint does not fit this network or version: {reason}") from error
    saved = time.monotonic()
    while not training.finished:
        for step in training.rest_of_epoch():
            observer(step)
            if time.monotonic() - saved >= plan.config.checkpoint_seconds:
                observer(CheckpointDue(training.checkpoint()))
                saved = time.monotonic()
        report = training.end_epoch(plan.validation)
        observer(EpochDone(report, training.best_weights if report.best else {}))
        observer(CheckpointDue(training.checkpoint()))
        saved = time.monotonic()
    training.finish()
    network.load_state_dict(training.best_weights)
    network.cpu().eval()
    return Trained(network, training.best, training.epochs)


class _Training:
    """All that changes from step to step, so that a checkpoint of it is whole."""

    def __init__(self, network: RankingNetwork, plan: FitPlan) -> None:
        config = plan.config
        self.epoch, self.rows, self.epochs = 1, 0, list[EpochReport]()
        self.best_weights: dict[str, Tensor] = {}
        self._network = network
        self._config = config
        self._start_weights = plan.weights
        self._data = plan.train
        self._device = network.base.device
        self._steps_an_epoch = math.ceil(len(plan.train) / config.batch)
        tasks = task_weights(config.loss_weights, plan.weights, network.heads).to(self._device)
        self._step = Step(network, config, tasks, config.epochs * self._steps_an_epoch)
        self._shuffler = torch.Generator().manual_seed(config.seed)
        self._before_shuffle = self._shuffler.get_state()
        self._loss, self._task_losses = 0.0, self._no_losses()

    @property
    def best(self) -> EpochReport:
        """The best epoch so far; there is one after the first."""
        return next(report for report in reversed(self.epochs) if report.best)

    @property
    def finished(self) -> bool:
        if not self.epochs:
            return False
        done = self.epochs[-1].epoch
        return done >= self._config.epochs or done - self.best.epoch >= self._config.patience

    def rest_of_epoch(self) -> Iterator[StepDone]:
        """Train on the epoch's rows that are not done, in a fresh order."""
        config, data = self._config, self._data
        self._network.train()
        self._before_shuffle = self._shuffler.get_state()
        for batch in data.epoch(self._shuffler, config.batch, self.rows):
            loss, per_task = self._step.take(batch.on(self._device), self.epoch)
            value = loss.item()
            share = len(batch) / len(data)
            self._loss += value * share
            self._task_losses += per_task * share
            self.rows += len(batch)
            yield self._step_done(len(batch), value)

    def _step_done(self, batch: int, loss: float) -> StepDone:
        config, steps = self._config, self._steps_an_epoch
        step = (self.epoch - 1) * steps + math.ceil(self.rows / config.batch)
        rate = config.learning_rate * rate_share(config, step - 1, config.epochs * steps)
        return StepDone(step, self.epoch, config.epochs, self.rows, len(self._data), batch, loss, rate)

    def end_epoch(self, validation: JudgedRows) -> EpochReport:
        """Judge the weights, keep them where they are the best so far, and begin the next epoch."""
        config, names = self._config, [head.name for head in self._network.heads]
        judged = self._step.settled()
        metrics = judge(judged, validation)
        monitored = _monitored(config, metrics, self._start_weights)
        better = config.keep == "last" or not self.epochs or _better(config, monitored, self.best.monitored)
        weights = self._step.last_weights(self.epoch)
        report = EpochReport(
            self.epoch,
            self._loss,
            dict(zip(names, self._task_losses.tolist(), strict=True)),
            dict(zip(names, weights.tolist(), strict=True)),
            metrics,
            monitored,
            better,
        )
        if better:
            self.best_weights = {
                name: tensor.to("cpu", copy=True) for name, tensor in judged.state_dict().items()
            }
        self.epochs.append(report)
        self.epoch, self.rows = self.epoch + 1, 0
        self._loss, self._task_losses = 0.0, self._no_losses()
        return report

    def _no_losses(self) -> Tensor:
        return torch.zeros(len(self._network.heads), device=self._device)

    def finish(self) -> None:
        """Leave the network as it was found, with its new weights."""
        self._step.finish()

    def checkpoint(self) -> Checkpoint:
        """Tensors and plain values, for `restore`; of a finished training its outcome alone."""
        outcome = {
            "epochs": [_plain(vars(report)) for report in self.epochs],
            "best_weights": self.best_weights,
            "epoch": self.epoch,
            "rows": self.rows,
            "finished": self.finished,
        }
        if self.finished:
            return outcome
        return outcome | {
            **self._step.state(),
            "loss": self._loss,
            "task_losses": self._task_losses,
            # Drawing the epoch's order again is cheaper than keeping it.
            "shuffler": self._before_shuffle if self.rows else self._shuffler.get_state(),
            **random_state(self._device),
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back to where a checkpoint was made."""
        self.epochs = [EpochReport(**report) for report in checkpoint["epochs"]]
        self.best_weights = dict(checkpoint["best_weights"])
        self.epoch, self.rows = checkpoint["epoch"], checkpoint["rows"]
        if self.finished:
            return
        self._loss = checkpoint["loss"]
        self._task_losses.copy_(checkpoint["task_losses"])
        self._step.restore(checkpoint)
        self._shuffler.set_state(checkpoint["shuffler"])
        # Last: building the network has drawn from it.
        return_to_random_state(checkpoint, self._device)


def judge(network: RankingNetwork, log: JudgedRows) -> dict[str, dict[str, Any]]:
    """Metrics of each task over its own sample space, and the joint loss's parts."""
    predictions = predict_rows(network, log)
    metrics = {}
    for place, head in enumerate(network.heads):
        rows = log.masks[:, place]
        metrics[head.name] = task_metrics(
            head.kind, predictions[rows, place], log.labels[rows, place], log.group[rows]
        )
    return metrics


def predict_rows(network: RankingNetwork, log: JudgedRows) -> npt.NDArray[np.float32]:
    """Predictions by the torch network, [rows, T]."""
    network.eval()
    with torch.inference_mode():
        parts = [
            network.predictions(*batch.on(network.base.device).inputs).cpu()
            for batch in log.slices(_JUDGED_ROWS)
        ]
    return torch.cat(parts).numpy() if parts else np.zeros((0, len(network.heads)), np.float32)


def _plain(value: Any) -> Any:
    """The same in Python's own types, which a checkpoint may hold."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value


def _base(network: RankingNetwork, train: TrainingRows) -> list[Tensor]:
    """Logits of the labels' mean rates in the training split: T of [columns]. Fits thresholds on the way."""
    rows = train.spread(_FITTED_ROWS) if len(network.thresholds) else None
    base = []
    for place, (mean, head) in enumerate(zip(train.label_means(), network.heads, strict=True)):
        if head.ordinal is not None and rows is not None:
            rates = _fit_thresholds(network.thresholds[f"of_{head.name}"], head.ordinal, rows, place)
        else:
            low, high = head.bounds if head.kind == "regression" else (0.0, 1.0)
            rates = torch.tensor([(mean - low) / (high - low)], dtype=torch.float64)
        base.append(torch.logit(rates.nan_to_num(nan=0.5).double(), eps=_RAREST).float())
    return base


def _fit_thresholds(thresholds: nn.Module, ordinal: Ordinal, rows: Batch, place: int) -> Tensor:
    """Fit a head's tables on the task's own rows: how often each threshold is reached, [M]."""
    own = rows.masks[:, place]
    labels, lengths = rows.labels[own, place].numpy(), rows.item_numeric[own, ordinal.length].numpy()
    tables = fit_tables(labels, lengths, ordinal.thresholds, ordinal.bins)
    for name, buffer in thresholds.named_buffers():
        buffer.copy_(torch.from_numpy(getattr(tables, name)))
    return torch.from_numpy(tables.rates)


def _monitored(config: TrainingConfig, metrics: dict[str, dict[str, Any]], weights: Sequence[float]) -> float:
    if config.monitor.metric == "loss":
        losses = [task.get("logloss", task.get("mse", math.nan)) for task in metrics.values()]
        return float(np.dot(weights, losses))
    task, _, metric = config.monitor.metric.partition(".")
    return float(metrics[task][metric])


def _better(config: TrainingConfig, found: float, best: float) -> bool:
    if math.isnan(found):
        return False
    if math.isnan(best):
        return True
    return found > best if config.monitor.mode == "max" else found < best

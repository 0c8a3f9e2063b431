"""Trainer: encoded rows and a network in, the best epoch's weights out.

One loop for every network: it knows the joint loss and the metrics, and neither features nor files.

Shapes: B rows of a batch, T tasks.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from model.errors import FulcrumError
from model.network.heads import TaskHead
from model.network.losses import joint_loss
from model.network.network import RankingNetwork
from training.batches import EncodedLog, TrainingRows
from training.loss_weights import TaskWeights, task_weights
from training.metrics import task_metrics
from training.recipe import TrainingConfig

__all__ = ["Checkpoint", "EpochReport", "Trained", "fit", "predict_rows"]

_JUDGED_ROWS = 8192
_RAREST = 1e-5
_LAST_RATE = 0.01

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
class Trained:
    """The outcome: the network holds the best epoch's weights."""

    network: RankingNetwork
    best: EpochReport
    epochs: list[EpochReport] = field(default_factory=list)


def fit(
    network: RankingNetwork,
    config: TrainingConfig,
    weights: list[float],
    train: TrainingRows,
    validation: EncodedLog,
    *,
    on_step: Callable[[int, int, float], None] = lambda _epoch, _rows, _loss: None,
    on_epoch: Callable[[EpochReport, dict[str, Tensor]], None] = lambda _report, _weights: None,
    on_checkpoint: Callable[[Checkpoint], None] | None = None,
    resume: Checkpoint | None = None,
) -> Trained:
    """Train until the monitored metric no longer improves; the network ends with its best weights.

    A training that starts from another's checkpoint, with the same arguments and as many threads, ends with
    the weights that the other would have ended with, bit for bit.

    Args:
        network: freshly built; its heads name the tasks.
        config: how to train.
        weights: of the tasks in the joint loss, [T], before what `config.loss_weights` makes of them.
        train, validation: rows of the two splits.
        on_step: called with epoch, rows done and loss after each step.
        on_epoch: called with each epoch's report and, where it is the best so far, the weights.
        on_checkpoint: called every `config.checkpoint_seconds` and after each epoch with all that it takes to
            go on from there. It shares the training's memory: to be written or copied before returning.
        resume: a checkpoint to go on from, in place of the beginning.

    Raises:
        FulcrumError: the checkpoint is of another network.
    """
    training = _Training(network, config, weights, train)
    if resume is not None:
        try:
            training.restore(resume)
        except (KeyError, RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise FulcrumError(f"the checkpoint does not fit this network or version: {reason}") from error
    saved = time.monotonic()
    while not training.finished:
        for loss in training.rest_of_epoch():
            on_step(training.epoch, training.rows, loss)
            if on_checkpoint is not None and time.monotonic() - saved >= config.checkpoint_seconds:
                on_checkpoint(training.checkpoint())
                saved = time.monotonic()
        report = training.end_epoch(validation)
        on_epoch(report, training.best_weights if report.best else {})
        if on_checkpoint is not None:
            on_checkpoint(training.checkpoint())
            saved = time.monotonic()
    network.load_state_dict(training.best_weights)
    network.eval()
    return Trained(network, training.best, training.epochs)


class _Training:
    """All that changes from step to step, so that a checkpoint of it is whole."""

    def __init__(
        self, network: RankingNetwork, config: TrainingConfig, weights: list[float], train: TrainingRows
    ) -> None:
        network.base.copy_(_base(train.label_means(), network.heads))
        self.epoch, self.rows, self.epochs = 1, 0, list[EpochReport]()
        self.best_weights: dict[str, Tensor] = {}
        self._network = network
        self._config = config
        self._start_weights = weights
        self._data = train
        self._weights = task_weights(config.loss_weights, weights, network.heads)
        self._optimizer = _optimizer(network, self._weights, config)
        self._average = _Average(network, config.average) if config.average is not None else None
        self._shuffler = torch.Generator().manual_seed(config.seed)
        self._before_shuffle = self._shuffler.get_state()
        self._steps = config.epochs * math.ceil(len(train) / config.batch)
        self._step = 0
        self._loss, self._task_losses = 0.0, torch.zeros(len(network.heads))

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

    def rest_of_epoch(self) -> Iterator[float]:
        """Train on the epoch's rows that are not done, in a fresh order; the loss of each step."""
        config, data = self._config, self._data
        self._network.train()
        self._before_shuffle = self._shuffler.get_state()
        for batch in data.epoch(self._shuffler, config.batch, self.rows):
            loss, per_task = joint_loss(
                self._network.logits(*batch.inputs),
                batch.labels,
                batch.masks,
                self._network.heads,
                self._weights.at(self.epoch, self._step),
            )
            penalty = self._weights.penalty(batch.masks.any(dim=0))
            if penalty is not None:
                loss = loss + penalty
            self._descend(loss)
            share, value = len(batch) / len(data), loss.item()
            self._loss += value * share
            self._task_losses += per_task.detach() * share
            self.rows += len(batch)
            yield value

    def _descend(self, loss: Tensor) -> None:
        config = self._config
        for group in self._optimizer.param_groups:
            group["lr"] = config.learning_rate * _rate(config, self._step, self._steps)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if config.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self._network.parameters(), config.gradient_clip)
        self._optimizer.step()
        if self._average is not None:
            self._average.follow()
        self._step += 1

    def end_epoch(self, validation: EncodedLog) -> EpochReport:
        """Judge the weights, keep them where they are the best so far, and begin the next epoch."""
        config, names = self._config, [head.name for head in self._network.heads]
        judged = self._average.network if self._average is not None else self._network
        metrics = judge(judged, validation)
        monitored = _monitored(config, metrics, self._start_weights)
        better = not self.epochs or _better(config, monitored, self.best.monitored)
        weights = self._weights.at(self.epoch, self._step - 1)
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
            self.best_weights = {name: tensor.clone() for name, tensor in judged.state_dict().items()}
        self.epochs.append(report)
        self.epoch, self.rows = self.epoch + 1, 0
        self._loss, self._task_losses = 0.0, torch.zeros(len(names))
        return report

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
            "step": self._step,
            "loss": self._loss,
            "task_losses": self._task_losses,
            "network": self._network.state_dict(),
            "loss_weights": self._weights.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "average": self._average.state() if self._average is not None else None,
            # Drawing the epoch's order again is cheaper than keeping it.
            "shuffler": self._before_shuffle if self.rows else self._shuffler.get_state(),
            "random": torch.get_rng_state(),
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back to where a checkpoint was made."""
        self.epochs = [EpochReport(**report) for report in checkpoint["epochs"]]
        self.best_weights = dict(checkpoint["best_weights"])
        self.epoch, self.rows = checkpoint["epoch"], checkpoint["rows"]
        if self.finished:
            return
        self._step, self._loss = checkpoint["step"], checkpoint["loss"]
        self._task_losses.copy_(checkpoint["task_losses"])
        self._network.load_state_dict(checkpoint["network"])
        self._weights.load_state_dict(checkpoint["loss_weights"])
        self._optimizer.load_state_dict(checkpoint["optimizer"])
        if self._average is not None:
            self._average.restore(checkpoint["average"])
        self._shuffler.set_state(checkpoint["shuffler"])
        # Last: building the network has drawn from it.
        torch.set_rng_state(checkpoint["random"])


def judge(network: RankingNetwork, log: EncodedLog) -> dict[str, dict[str, Any]]:
    """Metrics of each task over its own sample space, and the joint loss's parts."""
    predictions = predict_rows(network, log)
    metrics = {}
    for place, head in enumerate(network.heads):
        rows = log.masks[:, place]
        metrics[head.name] = task_metrics(
            head.kind, predictions[rows, place], log.labels[rows, place], log.group[rows]
        )
    return metrics


def predict_rows(network: RankingNetwork, log: EncodedLog) -> npt.NDArray[np.float32]:
    """Predictions by the torch network, [rows, T]."""
    network.eval()
    with torch.inference_mode():
        parts = [network.predictions(*batch.inputs) for batch in log.slices(_JUDGED_ROWS)]
    return torch.cat(parts).numpy() if parts else np.zeros((0, len(network.heads)), np.float32)


def _plain(value: Any) -> Any:
    """The same in Python's own types, which a checkpoint may hold."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value


def _optimizer(
    network: RankingNetwork, weights: TaskWeights, config: TrainingConfig
) -> torch.optim.Optimizer:
    """AdamW with a decay of its own for entity tables, other tables and matrices; the rest is not decayed."""
    entities = [*network.user.entity_tables(), *network.item.entity_tables()]
    tables = [module.weight for module in network.modules() if isinstance(module, nn.Embedding)]
    matrices = [parameter for parameter in network.trunk.parameters() if parameter.ndim > 1]
    decays = {id(parameter): config.id_weight_decay for parameter in entities}
    for decay, parameters in ((config.embedding_weight_decay, tables), (config.weight_decay, matrices)):
        for parameter in parameters:
            decays.setdefault(id(parameter), decay)
    groups: dict[float, list[nn.Parameter]] = {}
    for parameter in (*network.parameters(), *weights.parameters()):
        groups.setdefault(decays.get(id(parameter), 0.0), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": parameters, "weight_decay": decay} for decay, parameters in groups.items()],
        lr=config.learning_rate,
        fused=True,
    )


def _base(means: Sequence[float], heads: Sequence[TaskHead]) -> Tensor:
    """Logits of the labels' mean rates in the training split: [T]."""
    base = []
    for mean, head in zip(means, heads, strict=True):
        low, high = head.bounds if head.kind == "regression" else (0.0, 1.0)
        rate = 0.5 if math.isnan(mean) else (mean - low) / (high - low)
        rate = min(max(rate, _RAREST), 1.0 - _RAREST)
        base.append(math.log(rate / (1.0 - rate)))
    return torch.tensor(base)


def _rate(config: TrainingConfig, step: int, steps: int) -> float:
    """The share of the learning rate that a step takes; `step` counts those done before."""
    done = min(step / steps, 1.0)
    rise = min(1.0, (step + 1) / (steps * config.warmup)) if config.warmup > 0.0 else 1.0
    match config.schedule:
        case "constant":
            return rise
        case "linear":
            return rise * (_LAST_RATE + (1.0 - _LAST_RATE) * (1.0 - done))
        case "cosine":
            return rise * (_LAST_RATE + (1.0 - _LAST_RATE) * (1.0 + math.cos(math.pi * done)) / 2.0)
        case "exponential":
            return rise * math.pow(_LAST_RATE, done)


def _monitored(config: TrainingConfig, metrics: dict[str, dict[str, Any]], weights: list[float]) -> float:
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


class _Average:
    """An exponential moving average of a network's weights, step by step, corrected for its start."""

    def __init__(self, network: RankingNetwork, decay: float) -> None:
        self.network = copy.deepcopy(network)
        self._kept, self._followed = list(self.network.parameters()), list(network.parameters())
        self._decay = decay
        self._steps = 0

    def follow(self) -> None:
        """Take in the network's weights after a step."""
        self._steps += 1
        decay = min(self._decay, self._steps / (self._steps + 9))
        with torch.no_grad():
            for kept, new in zip(self._kept, self._followed, strict=True):
                kept.lerp_(new, 1.0 - decay)

    def state(self) -> Checkpoint:
        return {"weights": self.network.state_dict(), "steps": self._steps}

    def restore(self, state: Checkpoint) -> None:
        self.network.load_state_dict(state["weights"])
        self._steps = state["steps"]

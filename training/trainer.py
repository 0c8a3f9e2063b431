"""Trainer: encoded rows and a network in, the best epoch's weights out.

One loop for every network: it knows the joint loss and the metrics, and neither features nor files.

Shapes: B rows of a batch, T tasks.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from model.encoding import EncodedRows
from model.network.heads import TaskHead
from model.network.losses import joint_loss
from model.network.network import RankingNetwork
from training.metrics import task_metrics
from training.recipe import TrainingConfig

__all__ = ["EncodedLog", "EpochReport", "Trained", "fit", "predict_rows"]

_JUDGED_ROWS = 8192
_RAREST = 1e-5


@dataclass(frozen=True)
class EncodedLog:
    """Rows of a log as the trainer takes them.

    Attributes:
        user, item: encoded columns, [rows, ...].
        labels: float32 [rows, T]; anything where the mask is False.
        masks: bool [rows, T].
        group, user_number: int64 [rows], for AUC within groups and intervals by user.
    """

    user: EncodedRows
    item: EncodedRows
    labels: npt.NDArray[np.float32]
    masks: npt.NDArray[np.bool_]
    group: npt.NDArray[np.int64]
    user_number: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: npt.NDArray[np.bool_]) -> EncodedLog:
        """The rows that are marked."""
        kept = np.flatnonzero(rows)
        return EncodedLog(
            self.user.take(kept),
            self.item.take(kept),
            self.labels[kept],
            self.masks[kept],
            self.group[kept],
            self.user_number[kept],
        )


@dataclass(frozen=True)
class EpochReport:
    """One epoch: mean training losses, validation metrics, and whether it is the best so far."""

    epoch: int
    loss: float
    task_losses: dict[str, float]
    validation: dict[str, dict[str, Any]]
    monitored: float
    best: bool


@dataclass(frozen=True)
class Trained:
    """The outcome: the network holds the best epoch's weights."""

    network: RankingNetwork
    best: EpochReport
    epochs: list[EpochReport] = field(default_factory=list)


@dataclass(frozen=True)
class _Tensors:
    """An `EncodedLog` in torch's hands, sharing its memory."""

    user_ids: Tensor
    user_numeric: Tensor
    item_ids: Tensor
    item_numeric: Tensor
    labels: Tensor
    masks: Tensor

    @classmethod
    def of(cls, log: EncodedLog) -> _Tensors:
        arrays = (log.user.ids, log.user.numeric, log.item.ids, log.item.numeric, log.labels, log.masks)
        return cls(*(torch.from_numpy(array) for array in arrays))

    def inputs(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """What the network takes: each row with a user of its own."""
        return (
            self.user_ids[rows],
            self.user_numeric[rows],
            self.item_ids[rows],
            self.item_numeric[rows],
            torch.arange(len(rows)),
        )


def fit(
    network: RankingNetwork,
    config: TrainingConfig,
    weights: list[float],
    train: EncodedLog,
    validation: EncodedLog,
    *,
    on_step: Callable[[int, int, float], None] = lambda _epoch, _rows, _loss: None,
    on_epoch: Callable[[EpochReport, dict[str, Tensor]], None] = lambda _report, _weights: None,
) -> Trained:
    """Train until the monitored metric no longer improves; the network ends with its best weights.

    Args:
        network: freshly built; its heads name the tasks.
        config: how to train.
        weights: of the tasks in the joint loss, [T].
        train, validation: rows of the two splits.
        on_step: called with epoch, rows done and loss after each step.
        on_epoch: called with each epoch's report and, where it is the best so far, the weights.
    """
    network.base.copy_(_base(train, network.heads))
    data = _Tensors.of(train)
    shuffler = torch.Generator().manual_seed(config.seed)
    optimizer = _optimizer(network, config)
    steps = config.epochs * math.ceil(len(train) / config.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(config, step, steps))
    average = _Average(network, config.average) if config.average is not None else None
    judged = average.network if average is not None else network
    task_weights = torch.tensor(weights)
    names = [head.name for head in network.heads]
    epochs: list[EpochReport] = []
    best: EpochReport | None = None
    best_weights: dict[str, Tensor] = {}
    for epoch in range(1, config.epochs + 1):
        network.train()
        total, by_task = 0.0, torch.zeros(len(names))
        for done, rows in _batches(len(train), config.batch, shuffler):
            logits = network.logits(*data.inputs(rows))
            loss, per_task = joint_loss(
                logits, data.labels[rows], data.masks[rows], network.heads, task_weights
            )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            if config.gradient_clip is not None:
                nn.utils.clip_grad_norm_(network.parameters(), config.gradient_clip)
            optimizer.step()
            schedule.step()
            if average is not None:
                average.follow(network)
            share = len(rows) / len(train)
            total += loss.item() * share
            by_task += per_task.detach() * share
            on_step(epoch, done, loss.item())
        metrics = judge(judged, validation)
        monitored = _monitored(config, metrics, weights)
        better = best is None or _better(config, monitored, best.monitored)
        task_losses = dict(zip(names, by_task.tolist(), strict=True))
        report = EpochReport(epoch, total, task_losses, metrics, monitored, better)
        epochs.append(report)
        if better:
            best = report
            best_weights = {name: tensor.detach().clone() for name, tensor in judged.state_dict().items()}
        on_epoch(report, best_weights if better else {})
        if best is not None and epoch - best.epoch >= config.patience:
            break
    if best is None:
        raise AssertionError("a training has at least one epoch")
    network.load_state_dict(best_weights)
    network.eval()
    return Trained(network, best, epochs)


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
    data = _Tensors.of(log)
    with torch.inference_mode():
        parts = [
            network.predictions(*data.inputs(torch.arange(start, min(start + _JUDGED_ROWS, len(log)))))
            for start in range(0, len(log), _JUDGED_ROWS)
        ]
    return torch.cat(parts).numpy() if parts else np.zeros((0, len(network.heads)), np.float32)


def _batches(rows: int, size: int, shuffler: torch.Generator) -> Iterator[tuple[int, Tensor]]:
    """Rows done after the batch, and the batch's rows, in a fresh order."""
    order = torch.randperm(rows, generator=shuffler)
    for start in range(0, rows, size):
        batch = order[start : start + size]
        yield start + len(batch), batch


def _optimizer(network: RankingNetwork, config: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW with a decay of its own for entity tables, other tables and matrices; biases are not decayed."""
    entities = [*network.user.entity_tables(), *network.item.entity_tables()]
    tables = [module.weight for module in network.modules() if isinstance(module, nn.Embedding)]
    matrices = [parameter for parameter in network.trunk.parameters() if parameter.ndim > 1]
    decays = {id(parameter): config.id_weight_decay for parameter in entities}
    for decay, parameters in ((config.embedding_weight_decay, tables), (config.weight_decay, matrices)):
        for parameter in parameters:
            decays.setdefault(id(parameter), decay)
    groups: dict[float, list[nn.Parameter]] = {}
    for parameter in network.parameters():
        groups.setdefault(decays.get(id(parameter), 0.0), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": parameters, "weight_decay": decay} for decay, parameters in groups.items()],
        lr=config.learning_rate,
        fused=True,
    )


def _base(train: EncodedLog, heads: Sequence[TaskHead]) -> Tensor:
    """Logits of the labels' mean rates in the training split: [T]."""
    base = []
    for place, head in enumerate(heads):
        labels = train.labels[train.masks[:, place], place]
        low, high = head.bounds if head.kind == "regression" else (0.0, 1.0)
        rate = (float(labels.mean()) - low) / (high - low) if len(labels) else 0.5
        rate = min(max(rate, _RAREST), 1.0 - _RAREST)
        base.append(math.log(rate / (1.0 - rate)))
    return torch.tensor(base)


def _rate(config: TrainingConfig, step: int, steps: int) -> float:
    done = min(step / steps, 1.0)
    rise = min(1.0, (step + 1) / (steps * config.warmup)) if config.warmup > 0.0 else 1.0
    if config.schedule == "constant":
        return rise
    return rise * (0.01 + 0.99 * (1.0 + math.cos(math.pi * done)) / 2.0)


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
        self._decay = decay
        self._steps = 0

    def follow(self, network: RankingNetwork) -> None:
        self._steps += 1
        decay = min(self._decay, self._steps / (self._steps + 9))
        with torch.no_grad():
            for kept, new in zip(self.network.parameters(), network.parameters(), strict=True):
                kept.lerp_(new, 1.0 - decay)

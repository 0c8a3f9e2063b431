"""The optimizer: which parameters decay how, how its step size moves, and the average of the weights.

Knows nothing about losses, batches or epochs.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from model.network.network import RankingNetwork
from training.fitting.loss_weights import TaskWeights
from training.fitting.row_optimizer import RowAdamW
from training.recipe import TrainingConfig

_LAST_RATE = 0.01


def adamw(
    network: RankingNetwork, weights: TaskWeights, config: TrainingConfig, *, tables: bool = True
) -> torch.optim.Optimizer:
    """AdamW with a decay of its own for entity tables, other tables and matrices; the rest is not decayed.

    Args:
        network: whose parameters are trained.
        weights: of the tasks, which may have parameters, too.
        config: how to train.
        tables: whether embedding tables are among what is updated.
    """
    decays = {id(table.weight): decay for table, decay in table_decays(network, config)}
    left_out = set() if tables else set(decays)
    for parameter in network.trunk.parameters():
        if parameter.ndim > 1:
            decays.setdefault(id(parameter), config.weight_decay)
    groups: dict[float, list[nn.Parameter]] = {}
    for parameter in (*network.parameters(), *weights.parameters()):
        if id(parameter) not in left_out:
            groups.setdefault(decays.get(id(parameter), 0.0), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": parameters, "weight_decay": decay} for decay, parameters in groups.items()],
        lr=config.learning_rate,
        fused=True,
    )


def table_decays(network: RankingNetwork, config: TrainingConfig) -> list[tuple[nn.Embedding, float]]:
    """The embedding tables, and the weight decay of each."""
    entities = {id(weight) for weight in network.tables.entity_weights()}
    return [
        (table, config.id_weight_decay if id(table.weight) in entities else config.embedding_weight_decay)
        for table in network.modules()
        if isinstance(table, nn.Embedding)
    ]


def row_adamw(
    network: RankingNetwork, average: Average | None, config: TrainingConfig, steps: int
) -> RowAdamW:
    """AdamW for the embedding tables alone, by the rows a step touches; the average's tables with them."""
    averaged = average.network.modules() if average is not None else ()
    return RowAdamW(
        table_decays(network, config),
        [module for module in averaged if isinstance(module, nn.Embedding)],
        [config.learning_rate * rate_share(config, step, steps) for step in range(steps)],
        [average_share(config.average, step + 1) for step in range(steps)] if config.average else (),
    )


def rate_share(config: TrainingConfig, step: int, steps: int) -> float:
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


def average_share(decay: float, step: int) -> float:
    """What stays of the average in a step, the first being 1: less at the start, which is soon forgotten."""
    return min(decay, step / (step + 9))


class Average:
    """An exponential moving average of a network's weights, step by step, corrected for its start.

    Args:
        network: to follow.
        decay: what stays of the average in a step.
        tables: whether embedding tables are followed; else another keeps theirs.
    """

    def __init__(self, network: RankingNetwork, decay: float, *, tables: bool = True) -> None:
        self.network = copy.deepcopy(network)
        left_out = (
            set()
            if tables
            else {id(module.weight) for module in network.modules() if isinstance(module, nn.Embedding)}
        )
        pairs = zip(self.network.parameters(), network.parameters(), strict=True)
        followed = [(kept, new) for kept, new in pairs if id(new) not in left_out]
        self._kept: list[Tensor] = [kept for kept, _ in followed]
        self._followed: list[Tensor] = [new for _, new in followed]
        self._decay = decay
        self._steps = 0

    def follow(self) -> None:
        """Take in the network's weights after a step."""
        self._steps += 1
        with torch.no_grad():
            torch._foreach_lerp_(self._kept, self._followed, 1.0 - average_share(self._decay, self._steps))

    def state(self) -> dict[str, Any]:
        """For `restore`."""
        return {"weights": self.network.state_dict(), "steps": self._steps}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to where a state was taken."""
        self.network.load_state_dict(state["weights"])
        self._steps = state["steps"]

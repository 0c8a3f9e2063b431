"""The optimizer: which parameters decay how, how its step size moves, and the average of the weights.

Knows nothing about losses, batches or epochs.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import nn

from model.network.network import RankingNetwork
from training.loss_weights import TaskWeights
from training.recipe import TrainingConfig

__all__ = ["Average", "adamw", "rate_share"]

_LAST_RATE = 0.01


def adamw(network: RankingNetwork, weights: TaskWeights, config: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW with a decay of its own for entity tables, other tables and matrices; the rest is not decayed."""
    entities = network.tables.entity_weights()
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


class Average:
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

    def state(self) -> dict[str, Any]:
        """For `restore`."""
        return {"weights": self.network.state_dict(), "steps": self._steps}

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to where a state was taken."""
        self.network.load_state_dict(state["weights"])
        self._steps = state["steps"]

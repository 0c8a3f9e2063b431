"""MoE: a mixture of experts with one gate, whose fusion all tasks read.

After Jacobs et al., "Adaptive Mixtures of Local Experts", Neural Computation 1991, as the shared bottom of
several tasks: Ma et al., KDD 2018, equation 5, and section 4.2, which calls it one-gate mixture-of-experts
(OMoE).

Shapes: B rows, D width of the input x, W width of a fusion, T tasks.
"""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from model.network.config import MixtureConfig
from model.network.heads import TaskHead
from model.network.layers.mixture import MixtureLevel
from model.network.layers.mlp import Tower
from model.network.trunk import NamedExpert, NamedGate, Trunk


class MoEConfig(MixtureConfig):
    """Settings of the mixture with one gate."""

    model: Literal["moe"] = "moe"


class MoE(Trunk, config=MoEConfig):
    """x [B, D] -> T tower outputs, [B, columns] each, in the order of `tasks`."""

    def __init__(self, config: MoEConfig, *, fields: Sequence[int], tasks: Sequence[TaskHead]) -> None:
        super().__init__(config, fields=fields, tasks=tasks)
        self.mixture = MixtureLevel(
            sum(fields),
            sum(fields),
            experts=config.experts,
            widths=config.expert,
            gates=1,
            dropout=config.dropout,
        )
        self.towers = nn.ModuleList(
            Tower(config.expert[-1], config.tower, config.dropout, task.columns) for task in tasks
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Every expert and the gate read x [B, D]; every tower reads the one fusion [B, W]."""
        (fusion,) = self.mixture([x] * len(self.mixture.experts), x)
        return [tower(fusion) for tower in self.towers]

    def gates(self) -> list[NamedGate]:  # noqa: D102 (the base says it)
        return self.mixture.named_gates(1, ["all"])

    def experts(self) -> list[NamedExpert]:  # noqa: D102 (the base says it)
        return self.mixture.named_experts(1)

"""MMoE: multi-gate mixture-of-experts. All tasks share all experts, each task weighs them by its own gate.

After Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts", KDD
2018, section 4.2: y_k = h^k(f^k(x)) with f^k(x) = sum_i g^k(x)_i f_i(x) and
g^k(x) = softmax(W_gk x) (equations 6 to 8).

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


class MMoEConfig(MixtureConfig):
    """Settings of MMoE."""

    model: Literal["mmoe"] = "mmoe"


class MMoE(Trunk, config=MMoEConfig):
    """x [B, D] -> T tower outputs, [B, columns] each, in the order of `tasks`."""

    def __init__(self, config: MMoEConfig, *, fields: Sequence[int], tasks: Sequence[TaskHead]) -> None:
        super().__init__(config, fields=fields, tasks=tasks)
        self.names = tuple(task.name for task in tasks)
        self.mixture = MixtureLevel(
            sum(fields),
            sum(fields),
            experts=config.experts,
            widths=config.expert,
            gates=len(tasks),
            dropout=config.dropout,
        )
        self.towers = nn.ModuleList(
            Tower(config.expert[-1], config.tower, config.dropout, task.columns) for task in tasks
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Every expert and every gate reads x [B, D]; a task's tower reads its gate's fusion [B, W]."""
        fusions = self.mixture([x] * len(self.mixture.experts), x)
        return [tower(fusion) for tower, fusion in zip(self.towers, fusions, strict=True)]

    def gates(self) -> list[NamedGate]:  # noqa: D102 (the base says it)
        return self.mixture.named_gates(1, self.names)

    def experts(self) -> list[NamedExpert]:  # noqa: D102 (the base says it)
        return self.mixture.named_experts(1)

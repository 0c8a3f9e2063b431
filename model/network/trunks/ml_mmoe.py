"""ML-MMoE: MMoE of several levels. Experts of a level read what gates choose of the level below.

After Tang et al., RecSys 2020, section 5.1.2 and figures 1h and 8, where it is what PLE is compared with:
"higher-level experts combine representations from lower-level experts through gating networks and all gating
networks share the same selector". We read that as Ma et al., "SNR: Sub-Network Routing", AAAI 2019, describe
the network of this name: below the last level there is a gate for each expert of the level above, as if that
expert were a task; the last level has a gate a task; and the selector of every gate is x. Figure 8 shows the
same: with three experts a level, three gates on the first and one a task on the second.

Shapes: B rows, D width of the input x, W width of a fusion, E experts a level, T tasks.
"""

from collections.abc import Sequence
from typing import Literal, cast

from torch import Tensor, nn

from model.network.config import Count, MixtureConfig
from model.network.heads import TaskHead
from model.network.layers.mixture import MixtureLevel
from model.network.layers.mlp import Tower
from model.network.trunk import NamedExpert, NamedGate, Trunk


class MLMMoEConfig(MixtureConfig):
    """Settings of multi-level MMoE. With one level it is MMoE."""

    model: Literal["ml-mmoe"] = "ml-mmoe"
    levels: Count = 2
    """Levels of experts, stacked."""


class MLMMoE(Trunk, config=MLMMoEConfig):
    """x [B, D] -> T tower outputs, [B, columns] each, in the order of `tasks`."""

    def __init__(self, config: MLMMoEConfig, *, fields: Sequence[int], tasks: Sequence[TaskHead]) -> None:
        super().__init__(config, fields=fields, tasks=tasks)
        above = [f"expert {place}" for place in range(1, config.experts + 1)]
        self.readers = [above] * (config.levels - 1) + [[task.name for task in tasks]]
        self.levels = nn.ModuleList(
            MixtureLevel(
                config.expert[-1] if level else sum(fields),
                sum(fields),
                experts=config.experts,
                widths=config.expert,
                gates=len(readers),
                dropout=config.dropout,
            )
            for level, readers in enumerate(self.readers)
        )
        self.towers = nn.ModuleList(
            Tower(config.expert[-1], config.tower, config.dropout, task.columns) for task in tasks
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Let x [B, D] into every expert of the first level; each fusion [B, W] goes to its own reader."""
        fusions = [x] * len(self._level(0).experts)
        for level in self.levels:
            fusions = level(fusions, x)
        return [tower(fusion) for tower, fusion in zip(self.towers, fusions, strict=True)]

    def gates(self) -> list[NamedGate]:
        """Its gates, lowest level first; `expert 2` as a reader is that expert of the next level."""
        return [
            gate
            for place, readers in enumerate(self.readers)
            for gate in self._level(place).named_gates(place + 1, readers)
        ]

    def experts(self) -> list[NamedExpert]:  # noqa: D102 (the base says it)
        return [
            expert
            for place in range(len(self.levels))
            for expert in self._level(place).named_experts(place + 1)
        ]

    def _level(self, place: int) -> MixtureLevel:
        return cast(MixtureLevel, self.levels[place])

"""Asymmetric sharing: a bottom a task, and towers that also read the bottoms of some other tasks.

After Tang et al., "Progressive Layered Extraction", RecSys 2020, figure 1b: which task's bottom
is shared depends on how the tasks relate, and the bottoms are concatenated, summed or averaged.

Shapes: B rows, D width of the input x, W width of a bottom, T tasks.
"""

from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from model.network.config import LayersConfig
from model.network.heads import TaskHead
from model.network.layers.mlp import MLP, Tower
from model.network.layers.side_by_side import outputs_of
from model.network.trunk import NamedExpert, Trunk


class AsymmetricSharingConfig(LayersConfig):
    """Settings of asymmetric sharing."""

    model: Literal["asymmetric-sharing"] = "asymmetric-sharing"
    reads: dict[str, tuple[str, ...]] | None = None
    """By task, the others whose bottoms its tower reads beside its own; a task left out reads none. Without
    the mapping, each task reads those that stand before it."""
    fusion: Literal["concat", "sum", "mean"] = "concat"
    """How the bottoms that a tower reads become one."""

    def check_tasks(self, tasks: Sequence[str]) -> None:  # noqa: D102 (the base says it)
        self.sources(tasks)

    def sources(self, tasks: Sequence[str]) -> list[list[int]]:
        """Places of the bottoms that each task reads, its own first.

        Raises:
            ValueError: `reads` names a task that is not in `tasks`, or one that reads itself.
        """
        if self.reads is None:
            return [[place, *range(place)] for place in range(len(tasks))]
        for reader, read in self.reads.items():
            for name in (reader, *read):
                if name not in tasks:
                    raise ValueError(f"reads: unknown task '{name}'; the tasks are {', '.join(tasks)}")
            if reader in read or len(set(read)) < len(read):
                raise ValueError(
                    f"reads.{reader}: expected other tasks, each once, found {', '.join(read)}; "
                    "a task reads its own bottom anyway"
                )
        return [
            [place, *(tasks.index(other) for other in self.reads.get(name, ()))]
            for place, name in enumerate(tasks)
        ]


class AsymmetricSharing(Trunk, config=AsymmetricSharingConfig):
    """x [B, D] -> T tower outputs, each on its own bottom and those that it reads.

    Raises:
        ValueError: the config names a task that does not exist.
    """

    def __init__(
        self, config: AsymmetricSharingConfig, *, fields: Sequence[int], tasks: Sequence[TaskHead]
    ) -> None:
        super().__init__(config, fields=fields, tasks=tasks)
        self.names = tuple(task.name for task in tasks)
        self.sources = config.sources(self.names)
        self.fusion = config.fusion
        self.bottoms = nn.ModuleList(MLP(sum(fields), config.expert, config.dropout) for _ in tasks)
        self.towers = nn.ModuleList(
            Tower(
                config.expert[-1] * (len(read) if config.fusion == "concat" else 1),
                config.tower,
                config.dropout,
                task.columns,
            )
            for task, read in zip(tasks, self.sources, strict=True)
        )

    def forward(self, x: Tensor) -> list[Tensor]:  # noqa: D102 (the base says it)
        bottoms = outputs_of(self._mlps, x)  # T of [B, W]
        return [
            tower(self._fused([bottoms[place] for place in read]))
            for tower, read in zip(self.towers, self.sources, strict=True)
        ]

    def _fused(self, bottoms: list[Tensor]) -> Tensor:
        if self.fusion == "concat":
            return torch.cat(bottoms, dim=1)
        total = torch.stack(bottoms).sum(dim=0)
        return total / len(bottoms) if self.fusion == "mean" else total

    def experts(self) -> list[NamedExpert]:  # noqa: D102 (the base says it)
        return [
            NamedExpert(1, f"{name} 1", bottom) for name, bottom in zip(self.names, self._mlps, strict=True)
        ]

    @property
    def _mlps(self) -> list[MLP]:
        return cast(list[MLP], list(self.bottoms))
